"""BoigLLM: prompts both ways, its tokenizer and models, constrained decoding, its metrics and baselines."""
