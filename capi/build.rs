//! Gives the shared library the name by which programs that were linked with it look for it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    // Versions that cargo takes for compatible have the same name: 0.1, 0.2, 1, 2.
    let version = match (var("CARGO_PKG_VERSION_MAJOR"), var("CARGO_PKG_VERSION_MINOR")) {
        (major, minor) if major == "0" => format!("0.{minor}"),
        (major, _) => major,
    };
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libhorq.so.{version}");
}
