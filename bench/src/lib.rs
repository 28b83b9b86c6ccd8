//! Figures of Millrace, beside what people would use instead, taken side by side on one machine in one
//! run. This crate must never reach into what it measures: it drives processes from outside.

#![allow(clippy::float_arithmetic, reason = "statistics, not money")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

pub mod accounts;
pub mod bank;
pub mod bench;
mod children;
pub mod compare;
mod connection;
pub mod cpu;
pub mod entries;
pub mod http_load;
mod load_thread;
pub mod machine;
pub mod measure;
pub mod mix;
pub mod monolith;
pub mod monolith_process;
pub mod orders;
pub mod pages;
pub mod party;
pub mod plan;
pub mod plot;
pub mod postgres;
pub mod push_load;
pub mod readme;
pub mod recorder;
mod requests;
pub mod result;
#[cfg(test)]
mod samples;
pub mod server;
pub mod servers;
pub mod stats;
mod subscriber;
pub mod table;
pub mod watch;
