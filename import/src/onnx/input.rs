//! The inputs of a file: their types and shapes.

use super::{Options, schema, tensor};
use crate::error::Refusal;
use crate::graph::ElementType;

/// The most elements of an input.
const MOST_ELEMENTS: usize = 1 << 31;

/// The type and the shape of an input.
pub(super) fn read(info: &schema::ValueInfo, options: &Options) -> Result<(ElementType, Vec<usize>), Refusal> {
    let (element, shape) = kind(info, options)?;
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    if count.is_none_or(|count| count > MOST_ELEMENTS) {
        let name = info.name.as_deref().unwrap_or("");
        let reason = format!("its shape {} is too large", text(&shape));
        return Err(Refusal::at(name, "input", reason, "inputs of up to 2^31 elements can be had"));
    }
    Ok((element, shape))
}

fn kind(info: &schema::ValueInfo, options: &Options) -> Result<(ElementType, Vec<usize>), Refusal> {
    let name = info.name.as_deref().unwrap_or("");
    let refuse = |reason: String, instead: &str| Refusal::at(name, "input", reason, instead);
    let tensor = info.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| refuse("it is no tensor".into(), "inputs that are tensors can be had"))?;
    let element = tensor::element_type(tensor.elem_type.unwrap_or(0))
        .map_err(|reason| refuse(reason, "inputs of numbers can be had"))?;
    let given = options.shapes.get(name);
    let Some(shape) = &tensor.shape else {
        let instead = format!("give it: --input {name}=1x3x224x224");
        return given.cloned().map(|shape| (element, shape)).ok_or_else(|| refuse("it has no shape".into(), &instead));
    };
    let sizes: Vec<Option<usize>> = shape.dim.iter().map(fixed).collect();
    if let Some(given) = given {
        let fits = |(place, (&given, &size)): (usize, (&usize, &Option<usize>))| {
            given > 0 && (place == 0 || size.is_none_or(|size| size == given))
        };
        if given.len() != sizes.len() || !given.iter().zip(&sizes).enumerate().all(fits) {
            let reason = format!("the given shape {} does not fit {}", text(given), described(shape));
            return Err(refuse(reason, "sizes that the file fixes cannot be changed"));
        }
        return Ok((element, given.clone()));
    }
    let whole: Option<Vec<usize>> = sizes
        .iter()
        .enumerate()
        .map(|(place, &size)| match (place, size) {
            // One axis alone is a list of features, not a batch of numbers.
            (0, Some(size)) if sizes.len() == 1 => Some(size),
            (0, _) => Some(1),
            (_, size) => size,
        })
        .collect();
    let shape = whole.ok_or_else(|| {
        let example: Vec<String> = sizes
            .iter()
            .enumerate()
            .map(
                |(place, size)| {
                    if place == 0 { "1".into() } else { size.map_or("SIZE".into(), |size| size.to_string()) }
                },
            )
            .collect();
        let instead = format!("give its sizes: --input {name}={}", example.join("x"));
        refuse(format!("its shape {} leaves sizes open", described(shape)), &instead)
    })?;
    Ok((element, shape))
}

/// The batch that a file fixes for an input, if it is more than one sample.
pub(super) fn batch(info: &schema::ValueInfo, options: &Options) -> Option<usize> {
    let given = options.shapes.contains_key(info.name.as_deref().unwrap_or(""));
    let sizes = shape(info).filter(|sizes| sizes.len() > 1 && !given)?;
    sizes[0].filter(|&batch| batch > 1)
}

/// The sizes of an input or output that the file fixes.
pub(super) fn shape(info: &schema::ValueInfo) -> Option<Vec<Option<usize>>> {
    let tensor = info.r#type.as_ref()?.tensor_type.as_ref()?;
    Some(tensor.shape.as_ref()?.dim.iter().map(fixed).collect())
}

/// The size of an axis, unless the file leaves it open. Some writers say 0 or -1 for that.
fn fixed(dimension: &schema::Dimension) -> Option<usize> {
    dimension.dim_value.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0)
}

fn text(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

fn described(shape: &schema::Shape) -> String {
    let sizes = shape.dim.iter().map(|dimension| match (fixed(dimension), dimension.dim_param.as_deref()) {
        (Some(size), _) => size.to_string(),
        (None, Some(name)) if !name.is_empty() => name.to_owned(),
        (None, _) => "?".to_owned(),
    });
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}
