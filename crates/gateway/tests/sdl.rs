//! The served schema is the committed one: clients are built against the file.

#[test]
fn the_served_schema_is_the_committed_one() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(file, gateway::sdl()).expect("the file can be written");
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(committed == gateway::sdl(), "the schema has changed: look at the change, then UPDATE_SCHEMA=1 cargo test -p gateway");
}
