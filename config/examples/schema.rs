//! Prints the JSON Schema of templates; `cargo xtask schema` keeps it in a file.
#![expect(clippy::print_stdout, reason = "the schema is what this prints")]

fn main() {
    print!("{}", oic_config::schema::json());
}
