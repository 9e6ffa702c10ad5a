"""What scripts/vllm-reference is made of: loads, the two sides that play them, and the record of what came."""
