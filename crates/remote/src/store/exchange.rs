//! What became of the HTTP request behind one call of the client library.
//!
//! The library folds answers that mean different things into one error (409 and 412 for a
//! create, 404 and 412 for a swap), so the connector notes the status itself, in a variable
//! of the task that sends. The same way it learns which condition a delete is to carry,
//! for which the library has no parameter.

use super::Version;
use std::cell::RefCell;
use std::future::Future;

/// The condition that the connector adds to a request of the library.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Addition {
    None,
    /// To a DELETE: only this version.
    OnlyIf(Version),
    /// To what completes a multipart upload: only when there is no such object.
    Absent,
}

/// How a request ended that got no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, feature = "cloud")),
    expect(dead_code, reason = "the cloud's connector sets it")
)]
pub(super) enum Broken {
    /// There was no connection, so nothing was sent.
    NotSent,
    /// Anything else: something may have been sent.
    Perhaps,
}

/// One call's exchanges with the store.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "cloud"),
    expect(dead_code, reason = "only the cloud's connector reads it")
)]
pub(super) struct Exchange {
    /// The full name of the object: exchanges with others (those that fetch credentials) are not noted.
    pub(super) path: String,
    pub(super) addition: Addition,
    /// The last status, if one came.
    pub(super) status: Option<u16>,
    /// How it ended without one.
    pub(super) broken: Option<Broken>,
}

tokio::task_local! {
    static EXCHANGE: RefCell<Exchange>;
}

/// Runs one call of the library, and says what became of its request.
pub(super) async fn observe<T>(
    path: &str,
    addition: Addition,
    call: impl Future<Output = T>,
) -> (T, Exchange) {
    let blank = Exchange { path: path.to_owned(), addition, status: None, broken: None };
    EXCHANGE
        .scope(RefCell::new(blank), async {
            let result = call.await;
            let exchange = EXCHANGE.with(|exchange| exchange.borrow().clone());
            (result, exchange)
        })
        .await
}

/// Looks at the exchange of the task's call, if it is in one.
#[cfg(feature = "cloud")]
pub(super) fn with<R>(look: impl FnOnce(&mut Exchange) -> R) -> Option<R> {
    EXCHANGE.try_with(|exchange| look(&mut exchange.borrow_mut())).ok()
}
