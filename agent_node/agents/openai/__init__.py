"""The agent `openai`: a model of an OpenAI-compatible endpoint, by settings from the environment. docs/models.md."""
