"""Pure scoring rules: detections or answers in, verdicts and scores out."""
