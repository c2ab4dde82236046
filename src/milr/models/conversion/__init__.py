"""From DeepSeek's own checkpoints of Janus and Janus-Pro (`multi_modality`) to the form that transformers reads."""
