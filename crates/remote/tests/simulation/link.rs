//! How an actor reaches the world: a store and a timer whose every request waits until the
//! run decides its fate.

use crate::world::{Reply, Request, World};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tanada_remote::{
    Abilities, Class, Condition, Failure, Fetched, Meta, Operation, Part, Store, Timer, Upload,
    Version,
};

pub(crate) type Shared = Arc<Mutex<World>>;

/// One actor's side of the world.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) world: Shared,
    pub(crate) actor: usize,
    /// Whether the store can swap.
    pub(crate) swap: bool,
}

/// A request on its way. Dropped without an answer, it may still arrive.
struct Ask {
    link: Link,
    request: Option<Request>,
    id: Option<u64>,
}

impl Future for Ask {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let world = self.link.world.clone();
        let mut world = world.lock();
        let id = match (self.id, self.request.take()) {
            (Some(id), _) => id,
            (None, Some(request)) => {
                let id = world.ask(self.link.actor, request);
                self.id = Some(id);
                id
            }
            (None, None) => unreachable!("a request is sent once"),
        };
        let pending = world.pending.get_mut(&id).expect("only this future takes it");
        if pending.reply.is_none() {
            pending.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.id = None;
        let pending = world.pending.remove(&id).expect("it was there a moment ago");
        Poll::Ready(pending.reply.expect("it was there a moment ago"))
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut world = self.link.world.lock();
        if let Some(pending) = world.pending.remove(&id)
            && pending.reply.is_none()
            && pending.request.changes()
        {
            world.late.push(pending.request);
        }
    }
}

impl Link {
    fn ask(&self, request: Request) -> Ask {
        Ask { link: self.clone(), request: Some(request), id: None }
    }
}

fn wrong(reply: Reply) -> Failure {
    match reply {
        Reply::Failed(failure) => failure,
        other => unreachable!("another request's reply: {other:?}"),
    }
}

#[async_trait]
impl Store for Link {
    fn abilities(&self) -> Abilities {
        Abilities { swap: self.swap, conditional_delete: false, conditional_upload: false }
    }

    async fn get(
        &self,
        path: &str,
        _part: &Part,
        unless: Option<&Version>,
    ) -> Result<Fetched, Failure> {
        match self.ask(Request::Get(path.to_owned(), unless.cloned())).await {
            Reply::Fetched(fetched) => Ok(fetched),
            other => Err(wrong(other)),
        }
    }

    async fn head(&self, path: &str) -> Result<Option<Meta>, Failure> {
        match self.ask(Request::Head(path.to_owned())).await {
            Reply::Meta(meta) => Ok(meta),
            other => Err(wrong(other)),
        }
    }

    async fn put(
        &self,
        path: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<Version, Failure> {
        if matches!(condition, Condition::Is(_)) && !self.swap {
            let what = "it has no If-Match";
            return Err(Failure::new(Class::Refused, Operation::Swap, path, what));
        }
        match self.ask(Request::Put(path.to_owned(), bytes, condition.clone())).await {
            Reply::Stored(version) => Ok(version),
            other => Err(wrong(other)),
        }
    }

    async fn delete(&self, path: &str, _only: Option<&Version>) -> Result<(), Failure> {
        match self.ask(Request::Delete(path.to_owned())).await {
            Reply::Deleted => Ok(()),
            other => Err(wrong(other)),
        }
    }

    async fn list(&self, prefix: &str, _limit: usize) -> Result<Vec<Meta>, Failure> {
        match self.ask(Request::List(prefix.to_owned())).await {
            Reply::Listed(listed) => Ok(listed),
            other => Err(wrong(other)),
        }
    }

    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>, Failure> {
        Err(Failure::new(Class::Refused, Operation::Upload, path, "not simulated"))
    }
}

impl Timer for Link {
    fn now(&self) -> Duration {
        self.world.lock().time
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let ask = self.ask(Request::Sleep(duration));
        Box::pin(async move {
            ask.await;
        })
    }
}
