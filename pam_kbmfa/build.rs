//! Linker flags of the module. Only features decide what is compiled, never this file.

fn main() {
    // sshd may unload the module while thread-locals of the TLS library still wait for their destructors.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,relro,-z,now");
    println!("cargo::rerun-if-changed=build.rs");
}
