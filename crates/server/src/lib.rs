//! Tanada over HTTP.
