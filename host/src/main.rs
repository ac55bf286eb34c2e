//! The program: everything is in [`oic::cli`].

fn main() -> std::process::ExitCode {
    oic::cli::main(std::env::args_os())
}
