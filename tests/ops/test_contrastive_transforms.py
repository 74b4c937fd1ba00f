"""The contrastive operations under torch.func and in forward mode: the derivative, or an error."""

from __future__ import annotations

import pytest
import torch
from contrastive_cases import make
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import LONG
from torch import Tensor
from torch.func import grad, jacfwd, jacrev, jvp, linearize, vmap
from transform_cases import FORWARD, REVERSE, SECOND, naming, plain_gradient, random_like, slope

from bodvcl.ops.contrastive import chunked, info_nce, info_nce_parts, merge, negative_cosine

BACKENDS = ["torch", "chunked"]
H, N, K, D = 2, 6, 7, 4
REFUSED_BY_LOGSUMEXP = "gradient of the dual"
"""PyTorch's own logsumexp does not have it and raises; torch.func.grad of jvp works."""


@pytest.fixture(params=[False, True], ids=["one block", "many blocks"])
def blocks(request, monkeypatch) -> None:
    """Blocks of two rows, or one for all of them."""
    if request.param:
        monkeypatch.setattr(chunked, "BLOCK", 1)
        monkeypatch.setattr(chunked, "LEAST_ROWS", 2)


def packed(q: int = 0, zeros: bool = True) -> tuple[Tensor, dict]:
    """Queries, keys and the logarithms of the temperatures of two problems ``(2, numbers)``, and the ids."""
    rows = []
    for seed in range(2):
        query, keys, options = make(H, N, K, q, D, seed=seed)
        if zeros:
            query[0, 1] = 0
            keys[1, 2] = 0
        rows.append(torch.cat((query.flatten(), keys.flatten(), torch.tensor([-0.5, 0.2]).double())))
    return torch.stack(rows), options


def unpacked(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    query, keys, tau = z.split((H * N * D, H * K * D, H), -1)
    return query.unflatten(-1, (H, N, D)), keys.unflatten(-1, (H, K, D)), tau.exp()


def one_or_many(f):
    """A function of one problem, as a function of one or of a batch of them."""

    def run(z: Tensor) -> Tensor:
        if z.dim() == 1:
            return f(*unpacked(z))
        return torch.stack([f(*unpacked(row)) for row in z])

    return run


def rows_of(backend: str, options: dict, **more):
    return one_or_many(
        lambda query, keys, tau: info_nce(
            query, keys, temperature=tau, reduction="none", backend=backend, **options, **more
        )
    )


def merged(backend: str, options: dict):
    def run(query: Tensor, keys: Tensor, tau: Tensor) -> Tensor:
        parts = []
        for part in (slice(0, 3), slice(3, None)):
            ids = {k: v[part] if k.startswith("key") else v for k, v in options.items()}
            parts.append(info_nce_parts(query, keys[:, part], temperature=tau, backend=backend, **ids))
        return merge(*parts).loss()

    return one_or_many(run)


def tangent_of(z: Tensor) -> Tensor:
    """A random tangent that leaves zero vectors, whose cosine has none, as they are."""
    return torch.where(z == 0, 0.0, random_like(z))


def case(kind: str, backend: str):
    if kind == "merge":
        z, options = packed()
        options["queue"] = None
        return merged(backend, options), z
    z, options = packed(q=3 if kind == "queue" else 0)
    return rows_of(backend, options, normalize=kind != "products"), z


KINDS = ["cosines", "products", "queue", "merge"]


def nested(ways: dict) -> dict:
    """Those that map one batch dimension: a problem here is a vector."""
    return {name: way for name, way in ways.items() if "vmap(vmap" not in name and "dimension 1" not in name}


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_forward_mode_is_the_slope(kind, backend):
    f, z = case(kind, backend)
    u = tangent_of(z)
    want = slope(f, z, u)
    for name, way in nested(FORWARD).items():
        with naming(name):
            torch.testing.assert_close(way(f, z, u), want, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_reverse_mode_is_that_of_autograd(kind, backend):
    f, z = case(kind, backend)
    w = random_like(f(z))
    want = plain_gradient(f, z, w)
    for name, way in nested(REVERSE).items():
        with naming(name):
            torch.testing.assert_close(way(f, z, w), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_eager_route_is_twice_differentiable_in_every_order(kind):
    f, z = case(kind, "torch")
    w, u = random_like(f(z)), tangent_of(z)

    def total(y: Tensor) -> Tensor:
        return (f(y) * w).sum()

    want = slope(grad(total), z, u)
    for name, way in SECOND.items():
        if name == REFUSED_BY_LOGSUMEXP:
            with pytest.raises(RuntimeError, match="inplace"):
                way(total, z, u)
            continue
        with naming(name):
            torch.testing.assert_close(way(total, z, u), want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("way", SECOND)
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_derivative_of_the_fused_route_is_refused(kind, way):
    f, z = case(kind, "chunked")
    expected = r"first derivative only.*backend='torch'"
    if (kind, way) == ("merge", REFUSED_BY_LOGSUMEXP):
        expected = "inplace"
    with pytest.raises(RuntimeError, match=expected):
        SECOND[way](lambda y: f(y).square().sum(), z, tangent_of(z))


@pytest.mark.parametrize("argument", range(3))
def test_a_second_derivative_in_one_argument_alone_is_refused_too(argument):
    z, options = packed()
    fixed = list(unpacked(z[0]))

    def total(x: Tensor) -> Tensor:
        query, keys, tau = (*fixed[:argument], x, *fixed[argument + 1 :])
        return info_nce(query, keys, temperature=tau, backend="chunked", **options).square().sum()

    for name, way in SECOND.items():
        with naming(name), pytest.raises(RuntimeError, match="first derivative only"):
            way(total, fixed[argument], random_like(fixed[argument]))


@settings(max_examples=40, deadline=None)
@given(
    h=st.integers(1, 3),
    n=st.integers(1, 7),
    k=st.integers(1, 9),
    q=st.integers(0, 3),
    seed=st.integers(0, 2**31),
    normalize=st.booleans(),
    mapped=st.lists(st.booleans(), min_size=6, max_size=6).filter(any),
)
def test_vmap_over_any_arguments_is_one_call_after_the_other(h, n, k, q, seed, normalize, mapped):
    """Streams and ids alike, values and gradients; forward and reverse mode are transposes."""
    query, keys, options = make(h, n, k, q, 4, seed=seed)
    tau = torch.full((h,), 0.5).double()
    ids = [options.pop(name) for name in ("query_video", "key_video")]
    valid = torch.arange(h * n).reshape(h, n) % 4 != 1
    arguments = [query, keys, tau, *ids, valid]
    batch = [
        torch.stack((x.roll(1, 0), x))
        if m and not x.is_floating_point()
        else torch.stack((x, 0.9 * x))
        if m
        else x
        for x, m in zip(arguments, mapped)
    ]
    dims = tuple(0 if m else None for m in mapped)

    for backend in BACKENDS:

        def f(query, keys, tau, query_video, key_video, valid, backend=backend):
            return info_nce(
                query,
                keys,
                temperature=tau,
                query_video=query_video,
                key_video=key_video,
                valid=valid,
                reduction="none",
                normalize=normalize,
                backend=backend,
                **options,
            )

        def gradients(*args, f=f):
            return grad(lambda *a: f(*a).square().sum(), argnums=(0, 1, 2))(*args)

        got, slopes = vmap(f, in_dims=dims)(*batch), vmap(gradients, in_dims=dims)(*batch)
        for i in range(2):
            one = [x[i] if m else x for x, m in zip(batch, mapped)]
            want = f(*one)
            torch.testing.assert_close(got[i], want, rtol=1e-10, atol=1e-12)
            leaves = [x.clone().requires_grad_() for x in one[:3]]
            by_hand = torch.autograd.grad(f(*leaves, *one[3:]).square().sum(), leaves)
            torch.testing.assert_close([s[i] for s in slopes], list(by_hand), rtol=1e-9, atol=1e-11)
            tangents = tuple(random_like(x, j) for j, x in enumerate(one[:3]))
            moved = jvp(lambda a, b, c, one=one: f(a, b, c, *one[3:]), tuple(one[:3]), tangents)[1]
            forward = (moved * 2 * want).sum()
            reverse = sum((g * t).sum() for g, t in zip(by_hand, tangents))
            torch.testing.assert_close(forward, reverse, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_statistics_under_vmap_are_those_of_each_call(backend):
    query, keys, options = make()
    queries = torch.stack((query, keys[:, :12] + query))

    def f(x: Tensor) -> tuple:
        loss, stats = info_nce(x, keys, return_stats=True, backend=backend, **options)
        return loss, *stats

    got = vmap(f)(queries)
    for i, x in enumerate(queries):
        torch.testing.assert_close([g[i] for g in got], list(f(x)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_that_do_not_count_have_no_tangent(backend):
    query, keys, options = make(n=5, k=5)
    options["key_video"] = torch.tensor([0, 0, 1, 9, 9])
    options["query_video"] = torch.tensor([0, 0, 1, 1, 5])
    query[0, 0] = 0
    valid = torch.ones(2, 5, dtype=torch.bool)
    valid[1, 1] = False

    def f(q: Tensor, k: Tensor) -> Tensor:
        return info_nce(q, k, valid=valid, reduction="none", backend=backend, **options)

    both = jacfwd(f, argnums=(0, 1))(query, keys), jacrev(f, argnums=(0, 1))(query, keys)
    for forward, reverse in zip(*both):
        torch.testing.assert_close(forward, reverse, rtol=1e-10, atol=1e-12)
        for row in ((0, 0), (1, 1), (0, 4), (1, 4)):
            assert (forward[row] == 0).all()
        assert forward[1, 0].abs().max() > 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", ["query", "keys", "temperature"])
def test_values_are_checked_under_every_transform(what, backend):
    query, keys, options = make()
    tau = torch.tensor([0.5, 0.5]).double()
    bad = {"query": query, "keys": keys, "temperature": tau}[what]
    bad.view(-1)[-1] = -torch.inf

    def f(q: Tensor, k: Tensor, t: Tensor) -> Tensor:
        return info_nce(q, k, temperature=t, streams=["static", "dynamic"], backend=backend, **options).sum()

    arguments = (query, keys, tau)
    for call in (
        lambda: vmap(f)(*(x[None] for x in arguments)),
        lambda: vmap(f, in_dims=(0, None, None))(query[None], keys, tau),
        lambda: grad(f)(*arguments),
        lambda: jvp(f, arguments, arguments),
        lambda: vmap(grad(f))(*(x[None] for x in arguments)),
    ):
        with pytest.raises(ValueError, match="stream 'dynamic'"):
            call()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_tangents_are_at_most_twice_as_wrong_as_eager(dtype):
    query, keys, options = make(n=30, k=40, q=11, d=24, dtype=dtype)
    tangents = random_like(query, 1), random_like(keys, 2)

    def tangent(backend: str, kind: torch.dtype) -> Tensor:
        more = options | {"queue": options["queue"].to(kind)}
        return jvp(
            lambda q, k: info_nce(q, k, reduction="none", backend=backend, **more),
            (query.to(kind), keys.to(kind)),
            tuple(t.to(kind) for t in tangents),
        )[1]

    truth = tangent("torch", torch.float64)
    error = (tangent("chunked", dtype) - truth).abs().max()
    allowed = (tangent("torch", dtype) - truth).abs().max()
    assert error <= 2 * allowed + 10 * torch.finfo(torch.float32).eps * truth.abs().max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_linearize_is_the_tangent(backend):
    f, z = case("cosines", backend)
    u = tangent_of(z[0])
    value, push = linearize(f, z[0])
    torch.testing.assert_close(value, f(z[0]))
    torch.testing.assert_close(push(u), jvp(f, (z[0],), (u,))[1])


def test_opcheck_of_the_tangent_of_the_keys():
    query, keys, options = make(h=2, n=4, k=5, d=3)
    inverse = [torch.ops.bodvcl.inverse_norms(x, None, True, True, "x", "a,b") for x in (query, keys)]
    ids = [options[name] for name in ("query_video", "key_video", "query_clip", "key_clip")]
    scale = torch.tensor([2.0, 3.0]).double()
    torch.library.opcheck(
        torch.ops.bodvcl.contrastive_forward_keys,
        (
            random_like(keys),
            torch.ones(2, 2, 4).double(),
            query,
            keys,
            None,
            *inverse,
            None,
            scale,
            *ids,
            True,
        ),
    )


@pytest.mark.parametrize("way", [pytest.param("jvp", marks=LONG), "vmap(jvp)", "dual"])
def test_the_compiler_keeps_the_tangent_or_refuses(way):
    f, z = case("cosines", "chunked")
    f = rows_of("chunked", packed()[1], check_finite=False) if way == "dual" else f
    u = tangent_of(z)
    want = jvp(f, (z,), (u,))[1]
    torch.compiler.reset()
    got = torch.compile(lambda a, b: FORWARD[way](f, a, b), backend="aot_eager")(z, u)
    torch.testing.assert_close(got, want)
    compiled = torch.compile(f, backend="aot_eager")
    compiled(z)
    torch.testing.assert_close(FORWARD[way](compiled, z, u), want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_queue_may_be_overwritten_before_the_backward_pass(backend):
    query, keys, options = make(q=3, grad=True)
    queue = options.pop("queue")

    def gradients(change: bool) -> tuple[Tensor, ...]:
        memory = queue.clone()
        loss = info_nce(query, keys, queue=memory, backend=backend, **options).sum()
        if change:
            memory.zero_()
        return torch.autograd.grad(loss, (query, keys))

    torch.testing.assert_close(gradients(True), gradients(False), rtol=0, atol=0)


def test_negative_cosine_has_every_derivative_in_the_prediction():
    g = torch.Generator().manual_seed(0)
    x, target = (torch.randn(3, 2, 4, 5, generator=g).double() for _ in range(2))
    x[0, 0, 1] = 0
    target[:, 1, 2] = 0
    valid = torch.ones(2, 4, dtype=torch.bool)
    valid[1, 0] = False

    def f(y: Tensor) -> Tensor:
        def one(p, t):
            return negative_cosine(p, t, valid=valid, reduction="none")

        if y.dim() == 3:
            return one(y, target[1])
        return torch.stack([one(p, target[1]) for p in y])

    u = torch.where(x == 0, 0.0, random_like(x))
    w = random_like(f(x))
    for name, way in nested(FORWARD).items():
        with naming(name):
            torch.testing.assert_close(way(f, x, u), slope(f, x, u), rtol=1e-6, atol=1e-8)
    for name, way in nested(REVERSE).items():
        with naming(name):
            torch.testing.assert_close(way(f, x, w), plain_gradient(f, x, w))

    def total(y: Tensor) -> Tensor:
        return (f(y) * w).sum()

    for name, way in SECOND.items():
        with naming(name):
            torch.testing.assert_close(way(total, x, u), slope(grad(total), x, u), rtol=1e-5, atol=1e-7)
    assert (jacfwd(lambda t: negative_cosine(x[1], t))(target[0]) == 0).all()
