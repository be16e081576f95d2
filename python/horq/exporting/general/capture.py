"""A module's computation as a graph of ATen operations, by torch.export."""

from __future__ import annotations

import io
import logging
import operator
import os
import re
import sys
import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from ...errors import ExportError
from ..lines import line_of
from ..unfit import batch_statistics

_KEPT = frozenset(
    f"aten.{name}"
    for name in (
        *("linear.default", "silu.default", "hardswish.default", "hardsigmoid.default", "hardtanh.default"),
        *("softplus.default", "mish.default", "elu.default", "celu.default", "selu.default", "log_sigmoid.default"),
        *("leaky_relu.default", "prelu.default", "gelu.default", "scaled_dot_product_attention.default"),
        *("pad.default", "constant_pad_nd.default", "pixel_shuffle.default", "roll.default", "masked_fill.Scalar"),
        *("layer_norm.default", "rms_norm.default", "group_norm.default", "instance_norm.default"),
        *("native_layer_norm.default", "native_group_norm.default", "log_sigmoid_forward.default"),
        *("linalg_vector_norm.default", "logsumexp.default", "repeat_interleave.self_int"),
        *("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_max_pool1d.default"),
        *("_adaptive_avg_pool2d.default", "adaptive_max_pool2d.default", "max_pool1d.default", "max_pool2d.default"),
        *("avg_pool1d.default", "upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_bilinear2d.vec"),
        *("_upsample_nearest_exact1d.vec", "_upsample_nearest_exact2d.vec", "upsample_bicubic2d.vec"),
        *("upsample_linear1d.vec", "embedding.default", "rsqrt.default", "square.default", "var_mean.correction"),
        *("grid_sampler.default", "grid_sampler_2d.default", "cumsum.default", "addmm.default", "baddbmm.default"),
        *("reflection_pad1d.default", "reflection_pad2d.default", "replication_pad1d.default"),
        *("replication_pad2d.default", "rrelu.default", "rrelu_with_noise.default", "trunc.default", "frac.default"),
        *("sgn.default", "expm1.default", "log1p.default"),
        *("upsample_nearest1d.default", "upsample_nearest2d.default", "upsample_bilinear2d.default"),
        *("upsample_bicubic2d.default", "upsample_linear1d.default", "argmax.default", "argmin.default"),
    )
)
"""Operations that keep their name, since the graph can say them as they are, or to be refused by it."""

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_NOT_USERS = tuple(os.path.dirname(os.path.dirname(os.path.dirname(file))) + os.sep for file in (__file__,))
_TORCH = os.path.dirname(torch.__file__) + os.sep


class Captured:
    """A graph of ATen operations, with what its placeholders stand for."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.graph: fx.Graph = program.graph
        held = {**program.state_dict, **program.constants}
        self.inputs: list[str] = []
        """The placeholders of the module's inputs, in order."""
        self.held: dict[str, tuple[str, Tensor]] = {}
        """The name and values of what other placeholders stand for."""
        for spec in program.graph_signature.input_specs:
            if spec.kind == InputKind.USER_INPUT:
                self.inputs.append(spec.arg.name)
            elif spec.target in held and isinstance(held[spec.target], Tensor):
                self.held[spec.arg.name] = (str(spec.target), held[spec.target].detach())
        specs = program.graph_signature.output_specs
        self.answers = [i for i, spec in enumerate(specs) if spec.kind == OutputKind.USER_OUTPUT]
        """Which of the graph's outputs the module returns."""


def captured(module: nn.Module, arguments: Sequence[Any], keywords: dict[str, Any], known: Container[str]) -> Captured:
    """What `module`, in eval mode, computes for arguments of these shapes. Operations that are not `known`, and those
    that change values in place, become others that they are made of.

    Raises `ExportError`, naming the line, if torch.export cannot capture it.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        symbols = logging.getLogger("torch.fx.experimental.symbolic_shapes")  # it prints pages of what the error says
        stack.callback(setattr, symbols, "disabled", symbols.disabled)
        symbols.disabled = True
        stack.enter_context(redirect_stdout(io.StringIO()))  # and graphs, where it fails
        torch.backends.mha.set_fastpath_enabled(False)  # it hides attention in one operation without a name
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        try:
            program = _program(module, tuple(arguments), keywords)
            return Captured(program if _is_plain(program, known) else program.run_decompositions(_decompositions()))
        except ExportError:
            raise
        except Exception as error:  # the user's forward runs here
            # A batch norm of one sample without statistics breaks off before it can be refused by name.
            if reason := batch_statistics(module):
                raise ExportError(reason) from error
            if "Guard failed" in str(error):
                raise ExportError(
                    f"torch.export cannot capture {type(module).__name__}, which came of it and takes one size alone "
                    f"({_short(error)}); give the module that it was made of, from before torch.export"
                ) from error
            raise ExportError(
                f"torch.export cannot capture {type(module).__name__}{_line_in(error)}: {_short(error)}; keep control "
                "flow that depends on values, and what leaves PyTorch, such as numpy, out of forward"
            ) from error


def _program(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> ExportedProgram:
    """The program of torch.export, which does not see what a forward does to the `data` of tensors: BinaryNet's
    `input.data = input.data.sign()`, or XNOR-Net's `weight.data.clamp_()`. Such a module runs once, which changes its
    weights as any call does, and is captured with `data` that can be followed.
    """
    uses: list[None] = []
    with _data(lambda plain: property(_noted(plain.__get__, uses), _noted(plain.__set__, uses))):
        module(*arguments, **keywords)
    with _data(_followed) if uses else nullcontext():
        return torch.export.export(module, arguments, keywords or None, strict=False)


@contextmanager
def _data(made: Callable[[Any], property]) -> Iterator[None]:
    """Within it, `Tensor.data` is what is made of the plain one."""
    torch.Tensor.data = made(torch._C.TensorBase.data)
    try:
        yield
    finally:
        del torch.Tensor.data


def _noted(access: Callable[..., Any], uses: list[None]) -> Callable[..., Any]:
    """The same access, noted where the code of torch is not the one that asks."""

    def noted(*given: Any) -> Any:
        if _is_users(sys._getframe(1).f_code.co_filename):
            uses.append(None)
        return access(*given)

    return noted


def _followed(plain: Any) -> property:
    """`data` are a copy, whose changes in place change no tensor, and what is put there is copied into the tensor."""

    def get(tensor: Tensor) -> Tensor:
        return tensor.detach().clone()

    def put(tensor: Tensor, value: Tensor) -> None:
        if _is_users(sys._getframe(1).f_code.co_filename) and tensor.shape == value.shape:
            tensor.detach().copy_(value)
        else:
            plain.__set__(tensor, value)

    return property(get, put)


def _decompositions() -> Any:
    """How operations are made of others, but for those that the graph can say as they are."""
    table = torch.export.default_decompositions()
    for op in [op for op in table if str(op) in _KEPT]:
        del table[op]
    return table


def _is_plain(program: ExportedProgram, known: Container[str]) -> bool:
    """Whether nothing needs to be decomposed, which takes longer than all else."""
    computed: set[fx.Node] = set()
    inputs = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            computed.add(node)
        if node.op != "call_function" or node.target is operator.getitem:
            if not computed.isdisjoint(node.all_input_nodes):
                computed.add(node)
            continue
        schema = getattr(node.target, "_schema", None)
        if schema is None or schema.is_mutable:
            return False
        if not computed.isdisjoint(node.all_input_nodes):
            computed.add(node)
            if str(node.target) not in known:
                return False
    return True


def _short(error: Exception) -> str:
    """The first sentence of an error: those of torch.export run over pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _line_in(error: Exception) -> str:
    """The user's line in which an error was raised, also where its text alone tells."""
    line = line_of(error)
    if line and "horq" + os.sep not in line:
        return line
    frames = [(file, number) for file, number in _FRAME.findall(str(error)) if _is_users(file)]
    return f" at {frames[-1][0]}:{frames[-1][1]}" if frames else line


def _is_users(file: str) -> bool:
    return not file.startswith((*_NOT_USERS, _TORCH)) and not file.startswith("<")


def line_of_node(node: fx.Node) -> str:
    """``file:line`` of the user's code that a node comes from, or nothing."""
    frames = [(file, line) for file, line in _FRAME.findall(node.meta.get("stack_trace") or "") if _is_users(file)]
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames else ""


def place_of(node: fx.Node) -> tuple[str, str]:
    """The name and the class of the layer of PyTorch's or horq's that a node comes from, or nothing twice."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if stack:
        name, layer = stack[-1]
        layer = layer if isinstance(layer, str) else f"{layer.__module__}.{layer.__qualname__}"
        if name and layer.startswith(("torch.nn.", "horq.nn.")):
            return str(name), layer
    return "", ""


def describe(node: fx.Node) -> str:
    """What an error calls a node: its layer or operation, and the line."""
    name, layer = place_of(node)
    target = str(node.target).removeprefix("aten.").rpartition(".")[0] or str(node.target)
    what = f"`{name}` ({layer})" if name else f"`{node.name}` ({target})"
    line = line_of_node(node)
    return f"{what}{f' at {line}' if line else ''}"
