# base: plain_loops
# bug: three rows, row 0 has ended: row 1 must use uniforms_BN[1, n], uses uniforms_BN[0, n] (counted among the live rows)
# problem: generate
# says: "exceeds `uniforms_BN[b, n]`"

def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    if prompt_BT.dtype != torch.int64 or prompt_BT.dim() != 2:
        raise ValueError("prompt must be int64 [B, T]")
    B, T = prompt_BT.shape
    if B < 1 or T < 1:
        raise ValueError("prompt is empty")
    if int(prompt_BT.min()) < 0 or int(prompt_BT.max()) >= model.vocab_size:
        raise ValueError("id outside the vocabulary")
    if max_new_tokens < 0 or temperature < 0:
        raise ValueError("negative max_new_tokens or temperature")
    N = max_new_tokens
    if temperature > 0:
        if not isinstance(uniforms_BN, torch.Tensor) or tuple(uniforms_BN.shape) != (B, N):
            raise ValueError("uniforms must be [B, N]")
    tokens = torch.zeros(B, N, dtype=torch.int64, device=prompt_BT.device)
    logprobs = torch.zeros(B, N, dtype=torch.float32, device=prompt_BT.device)
    if N == 0:
        return tokens, logprobs
    D = model.head_dim
    kbuf = [torch.zeros(B, model.n_kv_heads, T + N, D, device=prompt_BT.device)
            for _ in range(model.n_layers)]
    vbuf = [torch.zeros_like(x) for x in kbuf]

    def run(chunk, start):
        t = chunk.shape[1]
        x = model.embed(chunk)
        for layer in range(model.n_layers):
            q, k, v = model.qkv(layer, x)
            q = _turn(q, start, model.rope_base)
            kbuf[layer][:, :, start : start + t] = _turn(k, start, model.rope_base)
            vbuf[layer][:, :, start : start + t] = v
            x = model.finish(layer, x, _attend_one_by_one(q, kbuf[layer], vbuf[layer], start))
        return model.logits(x[:, -1:])[:, 0]

    z = None
    start = 0
    while start < T:
        end = min(T, start + model.max_tokens)
        z = run(prompt_BT[:, start:end], start)
        start = end
    ended = [False] * B
    for n in range(N):
        live = 0
        for b in range(B):
            if ended[b]:
                tokens[b, n] = eos_id
                continue
            if temperature == 0:
                logp = torch.log_softmax(z[b].float(), dim=-1)
                choice = int(z[b].argmax())
            else:
                logp = torch.log_softmax(z[b].float() / temperature, dim=-1)
                u, total, choice = float(uniforms_BN[live, n]), 0.0, model.vocab_size - 1
                for i, p in enumerate(logp.double().exp().tolist()):
                    total += p
                    if total > u:
                        choice = i
                        break
            live += 1
            tokens[b, n] = choice
            logprobs[b, n] = logp[choice]
            if eos_id is not None and choice == eos_id:
                ended[b] = True
        if n + 1 < N:
            z = run(tokens[:, n : n + 1], T + n)
    return tokens, logprobs
