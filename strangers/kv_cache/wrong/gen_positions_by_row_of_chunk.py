# base: einsum_lazy
# bug: prompt of 7 with max_tokens = 3 (a last chunk of 1): positions must go on by the length of each chunk, advance by max_tokens each, so that decoding starts at 9
# problem: generate
# says: "Rotate both at their absolute positions, 0 for the first token of the prompt"

def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    _assert(prompt_BT.dtype == torch.int64 and prompt_BT.dim() == 2, "prompt")
    b, t = prompt_BT.shape
    _assert(b > 0 and t > 0, "empty prompt")
    _assert(bool(((prompt_BT >= 0) & (prompt_BT < model.vocab_size)).all()), "ids")
    _assert(max_new_tokens >= 0 and temperature >= 0, "negative")
    if temperature > 0:
        _assert(uniforms_BN is not None and list(uniforms_BN.shape) == [b, max_new_tokens], "uniforms")
    rope = _Rope(model.head_dim, model.rope_base)
    cache = [KVCache(b, model.n_kv_heads, model.head_dim) for _ in range(model.n_layers)]
    rope_at = 0
    ids, todo = None, prompt_BT
    tokens, logprobs = [prompt_BT[:, :0].clone()], [torch.zeros(b, 0)]
    going = torch.ones(b, 1, dtype=torch.bool)
    for n in range(max_new_tokens):
        # Whatever has not been through the model yet: the prompt, later the newest token.
        while todo.shape[1]:
            x = model.embed(todo[:, : model.max_tokens])
            m = x.shape[1]
            for layer in range(model.n_layers):
                q, k, v = model.qkv(layer, x)
                cache[layer].append(rope(k, rope_at), v)
                full = torch.full((b,), cache[layer].length)
                x = model.finish(layer, x, decode_attention(
                    rope(q, rope_at), cache[layer].keys(), cache[layer].values(), full))
            rope_at += model.max_tokens if n == 0 and rope_at + m > model.max_tokens else m
            todo = todo[:, m:]
        z = model.logits(x[:, -1:])[:, 0]
        p = (z / temperature if temperature > 0 else z).log_softmax(-1)
        if temperature > 0:
            passed = p.double().exp().cumsum(-1) > uniforms_BN[:, n].double()[:, None]
            passed[:, -1] = True
            ids = passed.to(torch.uint8).argmax(-1, keepdim=True)
        else:
            ids = z.argmax(-1, keepdim=True)
        lp = p.gather(-1, ids)
        if eos_id is not None:
            lp = lp.where(going, torch.zeros(()))
            shown = ids.where(going, torch.tensor(eos_id))
            going = going & (ids != eos_id)
        else:
            shown = ids
        tokens.append(shown)
        logprobs.append(lp)
        todo = ids
    return torch.cat(tokens, 1), torch.cat(logprobs, 1)
