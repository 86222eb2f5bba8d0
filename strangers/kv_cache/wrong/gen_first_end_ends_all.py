# base: sdpa_torch
# bug: two rows, row 0 ends at step 1: row 1 must go on, is filled with eos_id too
# problem: generate
# says: "A row ends with the step that yields `eos_id`; other rows go on."

@torch.no_grad()
def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    N = max_new_tokens
    if prompt_BT.dim() != 2 or prompt_BT.dtype != torch.int64 or 0 in prompt_BT.shape:
        raise ValueError("prompt")
    lo, hi = torch.aminmax(prompt_BT)
    if lo < 0 or hi > model.vocab_size - 1:
        raise ValueError("token id")
    if N < 0 or temperature < 0:
        raise ValueError("negative argument")
    B, T = prompt_BT.shape
    if temperature > 0 and (uniforms_BN is None or uniforms_BN.shape != torch.Size([B, N])):
        raise ValueError("uniforms")
    dev = prompt_BT.device
    tokens = torch.empty(B, N, dtype=torch.int64, device=dev)
    logprobs = torch.zeros(B, N, device=dev)
    if N == 0:
        return tokens, logprobs
    D, H = model.head_dim, model.n_kv_heads
    theta = torch.exp(torch.arange(D // 2, dtype=torch.float64, device=dev)
                      * (-2 * math.log(model.rope_base) / D))
    angle = torch.outer(torch.arange(T + N, dtype=torch.float64, device=dev), theta)
    turn = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
    K = torch.zeros(model.n_layers, B, H, T + N, D, device=dev)
    V = torch.zeros_like(K)

    def forward(ids, start):
        t = ids.size(1)
        x = model.embed(ids)
        see = torch.ones(t, start + t, dtype=torch.bool, device=dev).tril(start)
        for layer in range(model.n_layers):
            q, k, v = model.qkv(layer, x)
            K[layer].narrow(2, start, t).copy_(_rope(k, turn[start : start + t]))
            V[layer].narrow(2, start, t).copy_(v)
            q = _rope(q, turn[start : start + t]).unflatten(1, (H, -1)).flatten(2, 3)
            G = model.n_heads // H
            att = F.scaled_dot_product_attention(
                q, K[layer, :, :, : start + t], V[layer, :, :, : start + t],
                attn_mask=see.repeat(G, 1))
            x = model.finish(layer, x, att.reshape(B, H * G, t, D))
        return model.logits(x[:, -1:]).squeeze(1)

    start = 0
    for chunk in torch.split(prompt_BT, model.max_tokens, dim=1):
        z = forward(chunk, start)
        start += chunk.size(1)
    ended = torch.zeros(B, dtype=torch.bool, device=dev)
    for n in range(N):
        if temperature:
            p = F.log_softmax(z / temperature, dim=-1)
            cum = p.double().exp().cumsum(-1)
            u = uniforms_BN[:, n : n + 1].double().contiguous()
            pick = torch.searchsorted(cum, u, right=True)[:, 0].clamp(max=model.vocab_size - 1)
        else:
            p = F.log_softmax(z, dim=-1)
            pick = z.max(dim=-1).indices
        lp = torch.take_along_dim(p, pick[:, None], dim=1)[:, 0]
        if eos_id is not None:
            pick.masked_fill_(ended, eos_id)
            lp = lp.masked_fill(ended, 0.0)
            ended = ended.logical_or(pick.eq(eos_id))
        tokens[:, n] = pick
        logprobs[:, n] = lp
        if ended.any():
            tokens[:, n + 1 :] = eos_id
            break
        if n < N - 1:
            z = forward(pick.masked_fill(ended, 0)[:, None], start + n)
    return tokens, logprobs
