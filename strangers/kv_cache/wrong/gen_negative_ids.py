# base: generators
# bug: prompt with id -1: must raise ValueError, is read as V - 1
# problem: generate
# says: "or holds an id outside 0 … V - 1"

def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    def problems():
        if prompt_BT.ndim != 2 or prompt_BT.dtype != torch.int64:
            yield "the prompt must be int64 [B, T]"
        if prompt_BT.numel() == 0:
            yield "the prompt is empty"
        if prompt_BT.max() >= model.vocab_size:
            yield "the prompt holds an unknown id"
        if max_new_tokens < 0 or temperature < 0:
            yield "negative max_new_tokens or temperature"
        if temperature > 0:
            if uniforms_BN is None:
                yield "sampling needs uniforms"
            if tuple(uniforms_BN.shape) != (prompt_BT.shape[0], max_new_tokens):
                yield "uniforms must be [B, N]"

    _raise_first(problems())
    B = prompt_BT.shape[0]
    tokens = torch.empty(B, max_new_tokens, dtype=torch.int64, device=prompt_BT.device)
    logprobs = torch.empty(B, max_new_tokens, dtype=torch.float32, device=prompt_BT.device)
    if max_new_tokens:
        steps = _steps(model, prompt_BT, max_new_tokens, temperature, uniforms_BN, eos_id)
        for n, (ids, lps) in enumerate(steps):
            tokens[:, n] = torch.tensor(ids)
            logprobs[:, n] = torch.tensor(lps)
    return tokens, logprobs
