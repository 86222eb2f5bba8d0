# base: vectorised
# bug: a row ended at step 1 of 5: its logprobs from step 2 on must be 0, are those of the tokens that would have come
# problem: generate
# says: "0 after a row's end"

def generate(model, prompt_BT: Tensor, max_new_tokens: int, *, temperature: float = 0.0,
             uniforms_BN: Tensor | None = None, eos_id: int | None = None) -> tuple[Tensor, Tensor]:
    if prompt_BT.dtype != torch.int64 or prompt_BT.ndim != 2 or prompt_BT.numel() == 0:
        raise ValueError("prompt must be int64 [B, T], B and T at least 1")
    if bool(((prompt_BT < 0) | (prompt_BT >= model.vocab_size)).any()):
        raise ValueError("id outside the vocabulary")
    if max_new_tokens < 0 or temperature < 0:
        raise ValueError("max_new_tokens and temperature must not be negative")
    B, T = prompt_BT.shape
    N = max_new_tokens
    if temperature > 0 and (uniforms_BN is None or tuple(uniforms_BN.shape) != (B, N)):
        raise ValueError("uniforms_BN must be [B, N]")
    dev = prompt_BT.device
    tokens = torch.zeros((B, N), dtype=torch.int64, device=dev)
    logprobs = torch.zeros((B, N), dtype=torch.float32, device=dev)
    if N == 0:
        return tokens, logprobs
    D, H = model.head_dim, model.n_kv_heads
    freq = model.rope_base ** (-2.0 * torch.arange(D // 2, dtype=torch.float64, device=dev) / D)
    angle = torch.arange(T + N, dtype=torch.float64, device=dev)[:, None] * freq
    cos, sin = angle.cos().float(), angle.sin().float()
    cache = torch.empty((model.n_layers, 2, B, H, T + N, D), device=dev)

    def forward(ids: Tensor, start: int) -> Tensor:
        stop = start + ids.shape[1]
        mask = (torch.arange(stop, device=dev)
                > torch.arange(start, stop, device=dev)[:, None])
        x = model.embed(ids)
        for layer in range(model.n_layers):
            q, k, v = model.qkv(layer, x)
            q = _rotate(q, cos[start:stop], sin[start:stop])
            cache[layer, 0, :, :, start:stop] = _rotate(k, cos[start:stop], sin[start:stop])
            cache[layer, 1, :, :, start:stop] = v
            k, v = cache[layer, :, :, :, :stop]
            q = q.unflatten(1, (H, -1))
            s = (q @ k.unsqueeze(2).transpose(-1, -2)) / math.sqrt(D)
            w = s.masked_fill(mask, -math.inf).softmax(-1)
            x = model.finish(layer, x, (w @ v.unsqueeze(2)).flatten(1, 2))
        return model.logits(x[:, -1:])[:, 0]

    for start in range(0, T, model.max_tokens):
        z = forward(prompt_BT[:, start : start + model.max_tokens], start)
    over = torch.zeros(B, dtype=torch.bool, device=dev)
    for n in range(N):
        if temperature > 0:
            logp = (z / temperature).log_softmax(-1)
            cum = logp.double().exp().cumsum(-1)
            choice = (cum <= uniforms_BN[:, n, None].double()).sum(-1)
            choice = choice.clamp(max=model.vocab_size - 1)
        else:
            logp = z.log_softmax(-1)
            choice = z.argmax(-1)
        lp = logp.gather(1, choice[:, None])[:, 0]
        if eos_id is not None:
            choice = torch.where(over, eos_id, choice)
            over = over | (choice == eos_id)
        tokens[:, n] = choice
        logprobs[:, n] = lp
        if n + 1 < N:
            # Ended rows run on with any legal id; what they yield is replaced above.
            z = forward(choice.clamp(0, model.vocab_size - 1)[:, None], T + n)
    return tokens, logprobs
