"""The vocabulary: what an inference is, free of wire formats, transport and storage. Pure; imports nothing of ours."""
