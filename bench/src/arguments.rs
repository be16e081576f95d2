//! How texts of the command line become sizes and modes.

use horq::escaped;
use horq_kernels::{MAX_ORDER, ScaleMode};

/// Positive numbers with an `x` between; `form` says how a shape looks.
pub(crate) fn sizes<const N: usize>(text: &str, form: &str) -> Result<[usize; N], String> {
    let numbers: Result<Vec<usize>, String> = text.split(['x', 'X']).map(positive).collect();
    let numbers = numbers.map_err(|error| format!("{error}; a shape is {form}"))?;
    let wrong = |numbers: Vec<usize>| format!("{} sizes where {N} are needed: a shape is {form}", numbers.len());
    numbers.try_into().map_err(wrong)
}

/// A number of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(0) => Err("a size must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("`{}` is no number", escaped(text))),
    }
}

/// A parser of numbers from 1 to `highest`; `what` begins its message.
pub(crate) fn up_to(highest: usize, what: &'static str) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| positive(text).ok().filter(|&n| n <= highest).ok_or(format!("{what} 1 to {highest}"))
}

/// The planes of the activations.
pub(crate) fn order(text: &str) -> Result<usize, String> {
    up_to(MAX_ORDER, "an order is")(text)
}

/// A scale mode by its name.
pub(crate) fn mode(text: &str) -> Result<ScaleMode, String> {
    let unknown = || format!("`{}` is none of {}", escaped(text), ScaleMode::ALL.map(ScaleMode::name).join(", "));
    ScaleMode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked() {
        assert_eq!(sizes("14x14x3x8", "form"), Ok([14, 14, 3, 8]));
        for bad in ["", "1x2", "1x2x3x4", "0x1x1", "ax1x1"] {
            assert!(sizes::<3>(bad, "form").unwrap_err().ends_with("a shape is form"), "{bad}");
        }
        assert!(order("0").is_err() && order("9").is_err() && order("8") == Ok(8));
        assert!(up_to(4096, "a batch is")("4097").unwrap_err().contains("1 to 4096"));
        assert!(mode("image") == Ok(ScaleMode::Image) && mode("row").unwrap_err().contains("window, image"));
    }
}
