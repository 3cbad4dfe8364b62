"""Where work runs: device, threads, and a step replayed as a CUDA graph."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

# multiply-adds of one matrix product under which a second thread costs more than it
# gives (benchmarks/threads.py)
SMALL_PRODUCT = 64e6


def resolve_device(device: str) -> torch.device:
    """Find the device asked for; ``"auto"`` takes CUDA when there is one.

    Raises
    ------
    ValueError
        If torch does not know the device, or cannot use it here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        Generator(resolved)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ValueError(
            "device must be 'auto', 'cpu', 'cuda' or another device that this torch "
            f"build can use; got {device!r} ({reason})"
        ) from error
    return resolved


def widest(device: torch.device) -> torch.dtype:
    """Return the widest floats that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextmanager
def gradients() -> Iterator[None]:
    """Record gradients where they are wanted, though a caller has switched them off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def threads_for(product: float) -> Iterator[None]:
    """Run small matrix products on one thread, and put the setting back after."""
    before = torch.get_num_threads()
    if product > SMALL_PRODUCT:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def capture(
    step: Callable[[], None], state: Sequence[Tensor], generator: Generator
) -> Callable[[], None]:
    """``step`` as a CUDA graph; elsewhere ``step`` itself.

    The warm-up that capturing needs runs the step for real, so ``state`` (all that it
    changes) and ``generator`` are put back before the first replay.
    """
    if generator.device.type != "cuda":
        return step
    before = [tensor.detach().clone() for tensor in state]
    chance = generator.get_state()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        step()
    with torch.no_grad():
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(old)
    generator.set_state(chance)
    return graph.replay
