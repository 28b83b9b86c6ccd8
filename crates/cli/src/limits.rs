//! The limits of the gateway on the command line. This module must never know what they are for.

use std::time::Duration;

use gateway::Limits;

/// What one request, one caller and one connection may take.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits of the gateway")]
pub(crate) struct LimitArgs {
    /// Bytes of a request's body.
    #[arg(long, env = "MILLRACE_MAX_BODY", value_name = "BYTES", default_value_t = Limits::default().body_bytes)]
    max_body: usize,
    /// Levels of selections.
    #[arg(long, env = "MILLRACE_MAX_DEPTH", value_name = "N", default_value_t = Limits::default().depth)]
    max_depth: usize,
    /// Fields of an answer, those of a page or a bulk multiplied by its length.
    #[arg(long, env = "MILLRACE_MAX_COMPLEXITY", value_name = "N", default_value_t = Limits::default().complexity)]
    max_complexity: usize,
    /// Aliases in an operation.
    #[arg(long, env = "MILLRACE_MAX_ALIASES", value_name = "N", default_value_t = Limits::default().aliases)]
    max_aliases: usize,
    /// Fields of an operation's root.
    #[arg(long, env = "MILLRACE_MAX_ROOT_FIELDS", value_name = "N", default_value_t = Limits::default().root_fields)]
    max_root_fields: usize,
    /// Directives on a field.
    #[arg(long, env = "MILLRACE_MAX_DIRECTIVES", value_name = "N", default_value_t = Limits::default().directives)]
    max_directives: usize,
    /// Operations in a request's array.
    #[arg(long, env = "MILLRACE_MAX_BATCH", value_name = "N", default_value_t = Limits::default().batch)]
    max_batch: usize,
    /// Operations a second of a signed-in caller. It is high: lower it where customers connect themselves.
    #[arg(long, env = "MILLRACE_MAX_RATE", value_name = "N", default_value_t = Limits::default().caller_rate,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_rate: u32,
    /// Operations a second of all anonymous callers together.
    #[arg(long, env = "MILLRACE_MAX_ANONYMOUS_RATE", value_name = "N", default_value_t = Limits::default().anonymous_rate,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_anonymous_rate: u32,
    /// Websockets and event streams that are open at once.
    #[arg(long, env = "MILLRACE_MAX_SOCKETS", value_name = "N", default_value_t = Limits::default().sockets)]
    max_sockets: usize,
    /// The same of one caller; all anonymous ones count as one.
    #[arg(long, env = "MILLRACE_MAX_CALLER_SOCKETS", value_name = "N", default_value_t = Limits::default().caller_sockets)]
    max_caller_sockets: usize,
    /// Operations under way on a websocket at once.
    #[arg(long, env = "MILLRACE_MAX_SOCKET_OPERATIONS", value_name = "N", default_value_t = Limits::default().socket_operations)]
    max_socket_operations: usize,
    /// Bytes of a message on a websocket.
    #[arg(long, env = "MILLRACE_MAX_MESSAGE", value_name = "BYTES", default_value_t = Limits::default().message_bytes)]
    max_message: usize,
    /// Seconds that a query or a mutation may take, and that a request's body may take to arrive.
    #[arg(long, env = "MILLRACE_MAX_REQUEST_SECONDS", value_name = "N", default_value_t = Limits::default().request_time.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..))]
    max_request_seconds: u64,
    /// Seconds that a client may take nothing of what is sent before its connection is closed.
    #[arg(long, env = "MILLRACE_MAX_SLOW_SECONDS", value_name = "N", default_value_t = Limits::default().slow_reader.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..))]
    max_slow_seconds: u64,
}

impl From<&LimitArgs> for Limits {
    fn from(args: &LimitArgs) -> Self {
        Self {
            body_bytes: args.max_body,
            depth: args.max_depth,
            complexity: args.max_complexity,
            aliases: args.max_aliases,
            root_fields: args.max_root_fields,
            directives: args.max_directives,
            batch: args.max_batch,
            caller_rate: args.max_rate,
            anonymous_rate: args.max_anonymous_rate,
            sockets: args.max_sockets,
            caller_sockets: args.max_caller_sockets,
            socket_operations: args.max_socket_operations,
            message_bytes: args.max_message,
            request_time: Duration::from_secs(args.max_request_seconds),
            slow_reader: Duration::from_secs(args.max_slow_seconds),
        }
    }
}
