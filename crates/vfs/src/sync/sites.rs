//! Shuttle's atomics, which say where in the source they are used: so that an order can
//! hold up threads at one place of the code, however seldom it is passed.

use shuttle::sync::atomic as checker;
use std::cell::Cell;
use std::panic::Location;
use std::sync::atomic::Ordering;

// Of the test's thread, in which shuttle runs all threads of a test.
std::thread_local! {
    static HERE: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// Notes where the caller's caller is, who may be changed for another thread now.
#[track_caller]
pub(super) fn note() {
    HERE.set(Some(Location::caller()));
}

/// Where the present thread is about to go on, if it said so.
pub(super) fn take() -> Option<&'static Location<'static>> {
    HERE.take()
}

macro_rules! atomics {
    ($($name:ident $(<$of:ident>)?, $value:ty;)*) => {$(
        /// As that of `std`.
        #[derive(Debug)]
        pub struct $name $(<$of>)? (checker::$name $(<$of>)?);

        #[allow(missing_docs)] // as those of `std`
        impl $(<$of>)? $name $(<$of>)? {
            pub const fn new(value: $value) -> Self {
                Self(checker::$name::new(value))
            }

            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                note();
                self.0.load(order)
            }

            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                note();
                self.0.store(value, order);
            }

            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                note();
                self.0.swap(value, order)
            }

            #[track_caller]
            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                note();
                self.0.compare_exchange(from, to, success, failure)
            }
        }
    )*};
}

atomics! {
    AtomicBool, bool;
    AtomicU8, u8;
    AtomicU32, u32;
    AtomicU64, u64;
    AtomicUsize, usize;
    AtomicPtr<T>, *mut T;
}

macro_rules! numbers {
    ($($name:ident, $value:ty;)*) => {$(
        #[allow(missing_docs)] // as those of `std`
        impl $name {
            #[track_caller]
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                note();
                self.0.fetch_add(value, order)
            }

            #[track_caller]
            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                note();
                self.0.fetch_sub(value, order)
            }

            #[track_caller]
            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                note();
                self.0.fetch_max(value, order)
            }

            #[track_caller]
            pub fn fetch_min(&self, value: $value, order: Ordering) -> $value {
                note();
                self.0.fetch_min(value, order)
            }

            #[track_caller]
            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                next: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                note();
                self.0.fetch_update(set, fetch, next)
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::new(0)
            }
        }
    )*};
}

numbers! {
    AtomicU8, u8;
    AtomicU32, u32;
    AtomicU64, u64;
    AtomicUsize, usize;
}
