//! How the module is linked. It must never decide what is compiled: features do that.

fn main() {
    // sshd may unload the module while thread-locals of the TLS library still wait for their destructors.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,relro,-z,now");
    println!("cargo::rerun-if-changed=build.rs");
}
