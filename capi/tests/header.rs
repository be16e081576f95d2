//! The header in the repository is what cbindgen makes of the sources. `HORQ_WRITE_HEADER=1 cargo test -p horq-capi --test header`
//! writes it.

use std::path::Path;

#[test]
fn the_header_is_that_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    cbindgen::Builder::new().with_crate(root).with_config(config).generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let header = root.join("include/horq.h");
    if std::env::var_os("HORQ_WRITE_HEADER").is_some() {
        std::fs::write(&header, &made).unwrap();
    }
    let there = std::fs::read_to_string(&header).unwrap_or_default().replace("\r\n", "\n");
    assert!(
        there == made,
        "include/horq.h is stale: HORQ_WRITE_HEADER=1 cargo test -p horq-capi --test header writes it"
    );
}
