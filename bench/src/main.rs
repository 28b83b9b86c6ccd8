//! `just bench`: what Millrace does a second, beside what people would use instead, on this machine.

fn main() {}
