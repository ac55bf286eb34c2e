//! The checked-in schema is the one that the types make, and it is a schema.

use std::path::Path;

#[test]
fn checked_in_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/template.schema.json");
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == oic_config::schema::json(), "{} is out of date: renew it with `cargo xtask schema`", path.display());
}

#[test]
fn schema_accepts_and_refuses() {
    let validator = jsonschema::validator_for(oic_config::schema::value()).unwrap();
    let head = serde_json::json!({
        "image": { "name": "a", "version": 24.04 },
        "target": { "os": "debian", "dist": "debian13", "arch": "x86_64", "imageType": "raw" },
    });
    assert!(validator.is_valid(&head));
    for (pointer, value) in
        [("/target/arch", "m68k".into()), ("/image/nmae", "a".into()), ("/systemConfig", serde_json::json!({ "users": ["ann"] }))]
    {
        let mut wrong = head.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[key] = value;
        assert!(!validator.is_valid(&wrong), "{pointer}");
    }
    let mut removal = head;
    removal["systemConfig"] = serde_json::json!({ "users": ["-ann", { "name": "bob" }], "packages": ["-vim"], "network": null });
    assert!(validator.is_valid(&removal));
}
