//! Has the playground embedded again when it was built again. The stamp is the last file that its build writes.

use std::path::Path;

fn main() {
    let (sources, stamp) = ("../../web", "../../web/dist/stamp");
    // A file that is missing would always count as changed.
    println!("cargo::rerun-if-changed={}", if Path::new(stamp).exists() { stamp } else { sources });
}
