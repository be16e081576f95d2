//! What a figure was measured on.

use std::process::Command;

/// The CPU's own name for itself.
pub fn cpu() -> String {
    let name = if cfg!(target_os = "macos") {
        let output = Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output();
        output.ok().and_then(|output| String::from_utf8(output.stdout).ok())
    } else if cfg!(target_os = "windows") {
        std::env::var("PROCESSOR_IDENTIFIER").ok()
    } else {
        std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| linux_name(&info))
    };
    let name = name.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() { format!("unknown {}", std::env::consts::ARCH) } else { name }
}

/// The model name, with family and model where the name alone says little; on Arm, which has no names, the part.
fn linux_name(info: &str) -> Option<String> {
    let field = |key: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    };
    match (field("model name"), field("cpu family"), field("model")) {
        (Some(name), Some(family), Some(model)) => Some(format!("{name} (family {family} model {model})")),
        (Some(name), ..) => Some(name),
        _ => Some(format!("Arm implementer {} part {}", field("CPU implementer")?, field("CPU part")?)),
    }
}

#[cfg(test)]
mod tests {
    use super::linux_name;

    #[test]
    fn names_cpus() {
        let intel = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R)\n";
        assert_eq!(linux_name(intel).as_deref(), Some("Intel(R) Xeon(R) (family 6 model 143)"));
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(linux_name(arm).as_deref(), Some("Arm implementer 0x41 part 0xd0c"));
        assert_eq!(linux_name("processor : 0\n"), None);
    }
}
