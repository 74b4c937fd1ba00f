from __future__ import annotations

import pytest
import torch
from contrastive_cases import make

from bodvcl.cli.info import collect
from bodvcl.ops.backend import BackendError
from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.contrastive.backend import ContrastiveRequest, choose_contrastive
from bodvcl.ops.koopman.backend import KoopmanRequest, choose_koopman


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"keys": torch.zeros(2, 15, 9, dtype=torch.float64)},
            ValueError,
            r"expected \(H, N, D\) and \(H, K, D\)",
        ),
        (
            {"keys": torch.zeros(15, 8, dtype=torch.float64)},
            ValueError,
            r"expected \(H, N, D\) and \(H, K, D\)",
        ),
        (
            {"keys": torch.zeros(3, 15, 8, dtype=torch.float64)},
            ValueError,
            r"expected \(H, N, D\) and \(H, K, D\)",
        ),
        (
            {"keys": torch.zeros(2, 15, 8)},
            ValueError,
            "keys is torch.float32; expected torch.float64, as query",
        ),
        (
            {"keys": torch.zeros(2, 15, 8, dtype=torch.int64)},
            TypeError,
            "keys is torch.int64 .*; expected a floating-point tensor",
        ),
        ({"query": [1.0]}, TypeError, "query is list; expected a floating-point tensor"),
        (
            {"keys": torch.zeros(2, 15, 8, dtype=torch.float64, device="meta")},
            ValueError,
            "keys is on meta; expected cpu",
        ),
        (
            {"queue": torch.zeros(2, 4, 9, dtype=torch.float64)},
            ValueError,
            r"expected \(H, N, D\) and \(H, Q, D\)",
        ),
        ({"temperature": 0.0}, ValueError, "temperature is 0.0; expected a positive, finite number"),
        ({"temperature": -1.0}, ValueError, "expected a positive, finite number"),
        ({"temperature": float("nan")}, ValueError, "expected a positive, finite number"),
        ({"temperature": torch.ones(3)}, ValueError, "one for each stream"),
        ({"temperature": torch.tensor([0.1, 0.0])}, ValueError, "temperature is 0.0 for stream 'dynamic'"),
        (
            {"query_video": torch.arange(11)},
            ValueError,
            "query_video is torch.int64 .*; expected 12 integers",
        ),
        ({"key_video": torch.arange(12)}, ValueError, "key_video is .*; expected 15 integers"),
        ({"key_clip": torch.arange(14)}, ValueError, "key_clip is .*; expected 15 integers"),
        ({"key_video": torch.zeros(15)}, ValueError, "key_video is .*; expected 15 integers"),
        (
            {"key_video": torch.zeros(15, dtype=torch.int64, device="meta")},
            ValueError,
            "key_video is on meta",
        ),
        (
            {"key_clip": None},
            ValueError,
            "key_clip is None; expected both query_clip and key_clip, or neither",
        ),
        ({"valid": torch.ones(2, 11, dtype=torch.bool)}, ValueError, r"expected torch\.bool \(2, 12\)"),
        ({"valid": torch.ones(2, 12)}, ValueError, "valid is torch.float32"),
        ({"reduction": "median"}, ValueError, "reduction is 'median'"),
        ({"precision": "fp8"}, ValueError, "precision is 'fp8'"),
        ({"backend": "fastest"}, ValueError, "backend is 'fastest'"),
        ({"streams": ["static"]}, ValueError, "expected 2 names, one for each stream"),
    ],
)
def test_bad_input_is_named(change, error, message):
    query, keys, options = make()
    arguments = {"query": query, "keys": keys, "streams": ["static", "dynamic"], **options}
    with pytest.raises(error, match=message):
        info_nce(**(arguments | change))


@pytest.mark.parametrize("which", ["query", "keys", "queue"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("backend", ["torch", "chunked"])
def test_values_that_are_not_finite_are_reported_with_their_stream(which, value, backend):
    query, keys, options = make(q=3)
    {"query": query, "keys": keys, "queue": options["queue"]}[which][1, 2, 0] = value
    with pytest.raises(ValueError, match=f"{which} is not finite in 1 of .* rows of stream 'dynamic'"):
        info_nce(query, keys, streams=["static", "dynamic"], backend=backend, **options)
    loss = info_nce(query, keys, check_finite=False, backend=backend, **options)
    assert torch.isfinite(loss[0])
    assert loss[1].isnan()


def test_the_report_also_comes_from_a_compiled_graph():
    query, keys, options = make()
    call = torch.compile(
        lambda q: info_nce(q, keys, streams=["static", "dynamic"], backend="chunked", **options),
        fullgraph=True,
        backend="aot_eager",
    )
    assert torch.isfinite(call(query)).all()
    query[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="stream 'static'"):
        call(query)


def request(**change) -> ContrastiveRequest:
    return ContrastiveRequest("cpu", torch.float32, 2, 1024, 1024, 128)._replace(**change)


def test_choice_by_size_and_device(monkeypatch):
    monkeypatch.delenv("BODVCL_BACKEND", raising=False)
    monkeypatch.setattr("bodvcl.ops.backend.NO_TRITON", "")
    assert choose_contrastive("auto", request()) == "chunked"
    assert choose_contrastive("auto", request(queries=8, keys=8)) == "torch"
    assert choose_contrastive("auto", request(device="cuda")) == "triton"
    assert choose_contrastive("auto", request(device="cuda", width=512)) == "chunked"
    assert choose_contrastive("auto", request(device="cuda", dtype=torch.float64)) == "chunked"
    assert choose_contrastive("auto", request(device="cuda", queries=8, keys=8)) == "torch"
    assert choose_contrastive("reference", request()) == "torch"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "the embeddings are on cpu"),
        ({"device": "cuda", "width": 300}, "at most 256"),
        ({"device": "cuda", "dtype": torch.float64}, "float64 is not one of"),
    ],
)
def test_a_named_backend_says_why_it_cannot(monkeypatch, change, reason):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("bodvcl.ops.backend.NO_TRITON", "")
    with pytest.raises(BackendError, match=reason):
        choose_contrastive("triton", request(**change))
    monkeypatch.setattr("bodvcl.ops.backend.NO_TRITON", "triton is not installed")
    with pytest.raises(BackendError, match="triton is not installed"):
        choose_contrastive("triton", request(device="cuda"))


def test_environment_stands_in_for_auto(monkeypatch):
    for value, want in (
        ("torch", "torch"),
        ("reference", "torch"),
        ("chunked", "chunked"),
        ("cpu", "chunked"),
    ):
        monkeypatch.setenv("BODVCL_BACKEND", value)
        assert choose_contrastive("auto", request()) == want
    monkeypatch.setenv("BODVCL_BACKEND", "triton")
    koopman = KoopmanRequest("meta", torch.float32, frames=8, width=128)
    assert choose_koopman("auto", koopman) == "torch"
    monkeypatch.setenv("BODVCL_BACKEND", "fastest")
    with pytest.raises(ValueError, match="BODVCL_BACKEND is 'fastest'"):
        choose_contrastive("auto", request())


def test_info_names_the_route_and_why_not_the_kernels(monkeypatch):
    monkeypatch.delenv("BODVCL_BACKEND", raising=False)
    row = collect()["operators"]["contrastive"]["cpu"]
    assert row["backend"] == "chunked"
    assert row["triton"]
