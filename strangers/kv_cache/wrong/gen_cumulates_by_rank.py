# base: flat_strides
# bug: sampling: the cumulative sum must go by id, goes by falling probability (as in nucleus sampling), so other tokens come out for the same uniforms
# problem: generate
# says: "the token is the smallest id whose cumulative probability p[0] + … + p[id] exceeds `uniforms_BN[b, n]`"

def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    _bad(prompt_BT.dim() != 2, prompt_BT.dtype != torch.int64, prompt_BT.numel() == 0)
    _bad(int(prompt_BT.min()) < 0, int(prompt_BT.max()) >= model.vocab_size, max_new_tokens < 0,
         temperature < 0)
    B, T = prompt_BT.shape
    N, V = max_new_tokens, model.vocab_size
    if temperature > 0:
        _bad(uniforms_BN is None)
        _bad(tuple(uniforms_BN.shape) != (B, N))
    dev = prompt_BT.device
    out_t = torch.zeros(N, B, dtype=torch.int64, device=dev)
    out_p = torch.zeros(N, B, dtype=torch.float32, device=dev)
    if N == 0:
        return out_t.T.contiguous(), out_p.T.contiguous()
    L, H, D = model.n_layers, model.n_kv_heads, model.head_dim
    G = model.n_heads // H
    M = T + N
    cos, sin = _rope_table(M, D, model.rope_base, dev)
    K = torch.empty(L * B * H * M * D, device=dev).view(L, B * H, M, D)
    Vv = torch.empty(L * B * H * M * D, device=dev).view(L, B * H, M, D)
    at = 0
    ids = prompt_BT

    def feed(ids, at):
        t = ids.size(1)
        hide = torch.full((t, at + t), -math.inf, device=dev).triu(at + 1)
        x = model.embed(ids)
        for layer in range(L):
            q, k, v = model.qkv(layer, x)
            K[layer, :, at : at + t] = _rope(k, cos[at : at + t], sin[at : at + t]).reshape(B * H, t, D)
            Vv[layer, :, at : at + t] = v.reshape(B * H, t, D)
            q = _rope(q, cos[at : at + t], sin[at : at + t]).reshape(B * H, G * t, D)
            s = torch.bmm(q, K[layer, :, : at + t].transpose(1, 2)).view(B * H, G, t, at + t)
            w = torch.softmax(s / math.sqrt(D) + hide, -1).view(B * H, G * t, at + t)
            a = torch.bmm(w, Vv[layer, :, : at + t])
            x = model.finish(layer, x, a.view(B, H * G, t, D))
        return model.logits(x[:, -1:])[:, 0]

    while at < T:
        piece = ids[:, at : at + model.max_tokens]
        z = feed(piece, at)
        at += piece.size(1)
    end = torch.zeros(B, dtype=torch.int64, device=dev)  # 1 from the step after eos on
    for n in range(N):
        if temperature > 0:
            lp = torch.log_softmax(z / temperature, -1)
            sorted_lp, order = lp.sort(dim=-1, descending=True)
            c = torch.cumsum(sorted_lp.double().exp(), -1)
            u = uniforms_BN[:, n].double()
            new = torch.empty(B, dtype=torch.int64, device=dev)
            for b in range(B):
                hits = torch.nonzero(c[b] > u[b])
                new[b] = order[b, hits[0, 0]] if len(hits) else V - 1
        else:
            lp = torch.log_softmax(z, -1)
            new = torch.argmax(z, -1)
        out_p[n] = lp[range(B), new] * (1 - end)
        if eos_id is not None:
            new = new * (1 - end) + eos_id * end
            end = (new == eos_id).long()
        out_t[n] = new
        if n < N - 1:
            z = feed(new[:, None], at)
            at += 1
    return out_t.T.contiguous(), out_p.T.contiguous()
