fn main() -> std::process::ExitCode {
    candlepower::cli::main()
}
