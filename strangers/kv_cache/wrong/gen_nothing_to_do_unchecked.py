# base: dataclass_helpers
# bug: temperature=1, uniforms_BN=None, N = 0: must raise ValueError, returns empty tensors
# problem: generate
# says: "or temperature > 0 and uniforms_BN is no [B, N] tensor"

def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    if prompt_BT.ndim != 2 or prompt_BT.dtype != torch.int64 or not prompt_BT.numel():
        raise ValueError("prompt must be int64 [B, T] and not empty")
    if prompt_BT.min() < 0 or prompt_BT.max() >= model.vocab_size:
        raise ValueError("prompt holds an id outside the vocabulary")
    if max_new_tokens < 0 or temperature < 0:
        raise ValueError("max_new_tokens or temperature is negative")
    shape = (prompt_BT.shape[0], max_new_tokens)
    if max_new_tokens and temperature > 0 and (uniforms_BN is None or tuple(uniforms_BN.shape) != shape):
        raise ValueError("uniforms_BN must be [B, N]")
    tokens = torch.full(shape, 0 if eos_id is None else eos_id, dtype=torch.int64,
                        device=prompt_BT.device)
    logprobs = torch.zeros(shape, dtype=torch.float32, device=prompt_BT.device)
    decoder, choose = Decoder(model), Chooser(temperature, uniforms_BN)
    alive = torch.ones(shape[0], dtype=torch.bool, device=prompt_BT.device)
    z = None
    for n in range(max_new_tokens):
        if n == 0:
            for start in range(0, prompt_BT.shape[1], model.max_tokens):
                z = decoder.feed(prompt_BT[:, start : start + model.max_tokens])
        else:
            z = decoder.feed(ids[:, None])
        ids, lp = choose(z, n)
        tokens[alive, n] = ids[alive]
        logprobs[alive, n] = lp[alive]
        if eos_id is not None:
            alive &= ids != eos_id
        if not alive.any():
            break
    return tokens, logprobs
