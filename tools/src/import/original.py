"""Answers of an ONNX file: `python original.py MODEL FOLDER COUNT SEED JOB [NPY ...]`.

JOB is JSON: the inputs' names and shapes (a batch of one) and the outputs' names. Writes FOLDER/input_I.npy and
FOLDER/output_I.npy, float32, COUNT samples each. Inputs come from the .npy files, one for each input, or are random.

With "moved" in JOB, a list of samples, it writes FOLDER/moved.npy instead: how far the answer to each of those moves, as
a share of its largest value, when inputs and weights change in their last bits.
"""

import json
import sys

try:
    import numpy as np
    import onnx
except ModuleNotFoundError as error:
    sys.exit(
        f"the check needs the Python package {error.name}: pip install onnx onnxruntime numpy"
    )

NUDGES, NUDGE = 8, 2.0**-18
"""How often numbers are changed, and by how much of themselves at most: as horq.exporting.answers has it and derives it."""
CUSTOM = ("qonnx", "finn", "onnx.brevitas")


def by_runtime(model):
    """The model in ONNX Runtime, which is given every sample as often as the file's batch is large; no ranges."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        sys.exit("the check runs the original in ONNX Runtime: pip install onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Its fused forms of quantized nodes round otherwise than the nodes say.
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    batches = {}
    for value in session.get_inputs():
        first = value.shape[0] if value.shape else 1
        batches[value.name] = (
            first
            if isinstance(first, int) and first > 0 and len(value.shape) > 1
            else 1
        )

    def run(feeds, wanted):
        feeds = {
            name: np.repeat(feed, batches[name], axis=0) for name, feed in feeds.items()
        }
        batch = max(batches.values())
        results = session.run(wanted, feeds)
        return [
            result[:1] if batch > 1 and result.ndim and len(result) == batch else result
            for result in results
        ]

    return run, {}


def by_qonnx(model):
    """The model in the executor of qonnx, which knows the operations of QONNX and FINN; the ranges of whole numbers."""
    try:
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes
    except ModuleNotFoundError:
        sys.exit(
            "the file has operations of QONNX, so the check runs the original in qonnx: pip install qonnx"
        )
    if isinstance(model, bytes):
        model = onnx.load_from_string(model)
    wrapped = ModelWrapper(model).transform(InferShapes())

    def run(feeds, wanted):
        results = execute_onnx(wrapped, feeds)
        return [results[name] for name in wanted]

    kinds = {
        value.name: wrapped.get_tensor_datatype(value.name)
        for value in wrapped.graph.input
    }
    return run, {
        name: (int(kind.min()), int(kind.max()))
        for name, kind in kinds.items()
        if kind.is_integer()
    }


def types(model):
    """The numpy type of each input."""
    helper = onnx.helper
    return {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
    }


def sample(generator, shape, dtype, whole):
    if whole is not None:
        return generator.integers(*whole, shape, endpoint=True).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    if dtype == np.bool_:
        return generator.integers(0, 2, shape).astype(dtype)
    return generator.integers(0, 256 if dtype == np.uint8 else 8, shape).astype(dtype)


def inputs_of(job, files, count, generator, dtypes, ranges):
    """For each input its samples."""
    inputs = []
    for place, (name, shape) in enumerate(job["inputs"]):
        if files:
            values = np.load(files[place], allow_pickle=False)
            if values[:1].size != np.prod(shape):
                sys.exit(
                    f"{files[place]}: a sample of input {name} has shape {shape}, the file holds {values.shape}"
                )
            values = values[:count].reshape(-1, *shape).astype(dtypes[name])
        else:
            values = np.stack(
                [
                    sample(generator, shape, dtypes[name], ranges.get(name))
                    for _ in range(count)
                ]
            )
        inputs.append(values)
    return inputs


def nudged(values, generator):
    """The same numbers, each changed in its last bits."""
    if not np.issubdtype(values.dtype, np.floating):
        return values
    factors = 1 + NUDGE * generator.uniform(-1, 1, values.shape)
    return (values * factors).astype(values.dtype)


def nudged_model(model, generator):
    """The model with nudged weights, as a file's bytes."""
    helper = onnx.numpy_helper
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims:
            values = nudged(helper.to_array(tensor), generator)
            tensor.CopyFrom(helper.from_array(values, tensor.name))
    return changed.SerializeToString()


def moved(model, plain, maker, job, inputs, generator):
    """How far answers move, for each of the job's samples."""
    farthest = [0.0] * len(job["moved"])
    for _ in range(NUDGES):
        run, _ = maker(nudged_model(model, generator))
        for place, i in enumerate(job["moved"]):
            feeds = {
                name: values[i]
                for (name, _), values in zip(job["inputs"], inputs, strict=True)
            }
            other = {
                name: nudged(value, generator) if name in job["floats"] else value
                for name, value in feeds.items()
            }
            pairs = zip(
                plain(feeds, job["outputs"]), run(other, job["outputs"]), strict=True
            )
            for before, after in pairs:
                before, after = (
                    np.asarray(value, dtype=np.float64) for value in (before, after)
                )
                scale = np.abs(before).max(initial=np.finfo(np.float32).tiny)
                share = np.abs(before - after).max(initial=0) / scale
                farthest[place] = max(farthest[place], float(share))
    return np.array(farthest, dtype=np.float32)


def main():
    path, folder, count, seed, job = sys.argv[1:6]
    job, count, generator = (
        json.loads(job),
        int(count),
        np.random.default_rng(int(seed)),
    )
    model = onnx.load(path)
    dtypes = types(model)
    domains = {node.domain for node in model.graph.node}
    maker = (
        by_qonnx if any(domain.startswith(CUSTOM) for domain in domains) else by_runtime
    )
    run, ranges = maker(path)
    inputs = inputs_of(job, sys.argv[6:], count, generator, dtypes, ranges)
    if "moved" in job:
        # Whole numbers that an input of floats stands for stay whole.
        job["floats"] = [name for name, _ in job["inputs"] if name not in ranges]
        np.save(f"{folder}/moved.npy", moved(model, run, maker, job, inputs, generator))
        return
    samples = min(len(values) for values in inputs)
    outputs = [[] for _ in job["outputs"]]
    for i in range(samples):
        feeds = {
            name: values[i]
            for (name, _), values in zip(job["inputs"], inputs, strict=True)
        }
        for kept, result in zip(outputs, run(feeds, job["outputs"]), strict=True):
            kept.append(np.asarray(result, dtype=np.float32).reshape(1, -1))
    for place, values in enumerate(inputs):
        np.save(
            f"{folder}/input_{place}.npy",
            values[:samples].astype(np.float32).reshape(samples, -1),
        )
    for place, values in enumerate(outputs):
        np.save(f"{folder}/output_{place}.npy", np.concatenate(values))


main()
