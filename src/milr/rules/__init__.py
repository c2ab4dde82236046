"""Pure scoring rules: detections or answers in, verdicts out."""
