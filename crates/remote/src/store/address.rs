//! Opens a store by its URL.
//!
//! Credentials, region and endpoint come from the environment or from the instance (the
//! usual variables: `AWS_*`, `GOOGLE_*`, `AZURE_*`), never from the URL, which ends up in
//! logs and process lists. The client library is told to try nothing again by itself.

use super::{Abilities, ObjectStoreAdapter, Store};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use std::fmt;
use std::sync::Arc;
use url::Url;

/// Which kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    S3,
    Google,
    Azure,
    File,
    Memory,
}

/// Where a database lies: a store, a bucket in it, and a prefix below which all its names are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    scheme: Scheme,
    bucket: String,
    prefix: String,
}

/// A URL that names no place for a database, or a store that cannot be used from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

/// Longest prefix, in bytes: stores allow names of 1,024, and ours take at most 90.
const MAX_PREFIX_BYTES: usize = 512;

impl Address {
    /// Reads `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`,
    /// `file:///DIRECTORY` or `memory:///PREFIX`.
    ///
    /// # Errors
    ///
    /// The URL is none of these, or holds a user, a query or a fragment.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let url = Url::parse(text).map_err(|e| AddressError(format!("'{text}' is no URL: {e}")))?;
        // What may be a secret is not repeated.
        if !url.username().is_empty() || url.password().is_some() {
            let why = "the URL of a bucket holds no credentials: they come from the environment \
                       (AWS_ACCESS_KEY_ID, …) or from the instance";
            return Err(AddressError(why.into()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            let why = "the URL of a bucket ends with its prefix: it has no '?' and no '#'";
            return Err(AddressError(why.into()));
        }
        let scheme = match url.scheme() {
            "s3" => Scheme::S3,
            "gs" => Scheme::Google,
            "az" => Scheme::Azure,
            "file" => Scheme::File,
            "memory" => Scheme::Memory,
            other => {
                let why = format!(
                    "'{other}://' is no store: use s3://, gs://, az://, file:// or memory://"
                );
                return Err(AddressError(why));
            }
        };
        let bucket = url.host_str().unwrap_or_default().to_owned();
        match scheme {
            Scheme::File | Scheme::Memory if !bucket.is_empty() => {
                let why = format!("'{text}' names a host; write three slashes, as in file:///data");
                return Err(AddressError(why));
            }
            Scheme::S3 | Scheme::Google | Scheme::Azure if bucket.is_empty() => {
                return Err(AddressError(format!("'{text}' names no bucket")));
            }
            _ => {}
        }
        let path = object_store::path::Path::from_url_path(url.path())
            .map_err(|e| AddressError(format!("'{text}' has no usable prefix: {e}")))?;
        let prefix = path.as_ref().to_owned();
        if prefix.len() > MAX_PREFIX_BYTES {
            let why = format!("the prefix is longer than {MAX_PREFIX_BYTES} bytes");
            return Err(AddressError(why));
        }
        if scheme == Scheme::File && prefix.is_empty() {
            return Err(AddressError("file:/// names no directory".into()));
        }
        Ok(Address { scheme, bucket, prefix })
    }

    /// Below which all names of the database are; without slashes around it, perhaps empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::S3 => "s3",
            Scheme::Google => "gs",
            Scheme::Azure => "az",
            Scheme::File => "file",
            Scheme::Memory => "memory",
        };
        write!(f, "{scheme}://{}/{}", self.bucket, self.prefix)
    }
}

/// Opens the store of `address`; sends nothing. `variables` are those of the environment.
///
/// A store of `memory://` is a new one each time, and gone with its last user.
///
/// # Errors
///
/// A variable has no such value, or the build has no networks.
pub fn open(
    address: &Address,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Arc<dyn Store>, AddressError> {
    let near = |swap| Abilities { swap, conditional_delete: false, conditional_upload: false };
    let adapter = match address.scheme {
        Scheme::Memory => ObjectStoreAdapter::new(Arc::new(InMemory::new()), near(true)),
        Scheme::File => {
            // Synced before the answer, as a bucket would; names are created by link, so
            // that If-None-Match holds; there is no If-Match.
            let files = LocalFileSystem::new().with_fsync(true);
            ObjectStoreAdapter::new(Arc::new(files), near(false))
        }
        #[cfg(feature = "cloud")]
        _ => cloud::open(address, variables)?,
        #[cfg(not(feature = "cloud"))]
        _ => {
            let _ = variables;
            let why = format!("{address}: this build has no networks; it wants feature 'cloud'");
            return Err(AddressError(why));
        }
    };
    Ok(Arc::new(adapter))
}

#[cfg(feature = "cloud")]
mod cloud {
    //! Stores that are reached over a network.

    use super::{Abilities, Address, AddressError, ObjectStoreAdapter, Scheme};
    use crate::store::connector::{Connector, Dialect};
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    use object_store::{BackoffConfig, ClientOptions, RetryConfig};
    use std::str::FromStr;
    use std::sync::Arc;
    use std::time::Duration;

    /// One request, from connecting to the last byte of the answer. 8 MiB take a second on a
    /// slow line; what takes longer is unknown rather than waited for.
    const REQUEST: Duration = Duration::from_secs(30);
    const CONNECT: Duration = Duration::from_secs(5);

    /// The library sends nothing twice: [`crate::Bucket`] decides that.
    fn no_hidden_tries() -> RetryConfig {
        let backoff = BackoffConfig::default();
        RetryConfig { backoff, max_retries: 0, retry_timeout: Duration::ZERO }
    }

    fn client() -> ClientOptions {
        ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT).with_user_agent(
            http::HeaderValue::from_static(concat!("tanada/", env!("CARGO_PKG_VERSION"))),
        )
    }

    pub(super) fn open(
        address: &Address,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<ObjectStoreAdapter, AddressError> {
        let wrong = |e: object_store::Error| AddressError(format!("{address}: {e}"));
        let abilities = |conditional_delete, conditional_upload| Abilities {
            swap: true,
            conditional_delete,
            conditional_upload,
        };
        match address.scheme {
            Scheme::S3 => {
                let mut builder = AmazonS3Builder::new().with_client_options(client());
                for (key, value) in known::<AmazonS3ConfigKey>(variables, "AWS_") {
                    builder = builder.with_config(key, value);
                }
                let store = builder
                    .with_bucket_name(&address.bucket)
                    .with_conditional_put(S3ConditionalPut::ETagMatch)
                    // One object a request, so that a condition has its place.
                    .with_disable_bulk_delete(true)
                    .with_http_connector(Connector(Dialect::S3))
                    .with_retry(no_hidden_tries())
                    .build()
                    .map_err(wrong)?;
                Ok(ObjectStoreAdapter::new(Arc::new(store), abilities(true, true)))
            }
            Scheme::Google => {
                let mut builder = GoogleCloudStorageBuilder::new().with_client_options(client());
                for (key, value) in known::<GoogleConfigKey>(variables, "GOOGLE_") {
                    builder = builder.with_config(key, value);
                }
                let store = builder
                    .with_bucket_name(&address.bucket)
                    .with_http_connector(Connector(Dialect::Google))
                    .with_retry(no_hidden_tries())
                    .build()
                    .map_err(wrong)?;
                Ok(ObjectStoreAdapter::new(Arc::new(store), abilities(true, false)))
            }
            _ => {
                let mut builder = MicrosoftAzureBuilder::new().with_client_options(client());
                for (key, value) in known::<AzureConfigKey>(variables, "AZURE_") {
                    builder = builder.with_config(key, value);
                }
                let store = builder
                    .with_container_name(&address.bucket)
                    .with_http_connector(Connector(Dialect::Azure))
                    .with_retry(no_hidden_tries())
                    .build()
                    .map_err(wrong)?;
                Ok(ObjectStoreAdapter::new(Arc::new(store), abilities(false, false)))
            }
        }
    }

    /// The variables that the library knows by that beginning.
    fn known<K: FromStr>(
        variables: impl Iterator<Item = (String, String)>,
        beginning: &str,
    ) -> impl Iterator<Item = (K, String)> {
        variables
            .filter(move |(key, _)| key.starts_with(beginning))
            .filter_map(|(key, value)| Some((key.to_ascii_lowercase().parse().ok()?, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Address::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn an_address_is_a_store_a_bucket_and_a_prefix() {
        let address = Address::parse("s3://bucket/a/b/").unwrap();
        assert_eq!((address.bucket.as_str(), address.prefix()), ("bucket", "a/b"));
        assert_eq!(address.to_string(), "s3://bucket/a/b");
        assert_eq!(Address::parse("gs://bucket").unwrap().prefix(), "");
        let address = Address::parse("file:///var/lib/tanada").unwrap();
        assert_eq!(address.prefix(), "var/lib/tanada");
        assert_eq!(Address::parse("memory:///").unwrap().prefix(), "");
    }

    #[test]
    fn a_wrong_address_is_refused_with_what_to_write_instead() {
        assert!(refused("http://bucket/a").contains("use s3://"));
        assert!(refused("s3:///a").contains("no bucket"));
        assert!(refused("file://data/a").contains("three slashes"));
        assert!(refused("file:///").contains("no directory"));
        assert!(refused("data").contains("no URL"));
        assert!(refused("s3://bucket/a?region=x").contains("no '?'"));
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        let told = refused("s3://AKIAFAKE:verysecret@bucket/a");
        assert!(told.contains("environment") && !told.contains("verysecret"), "{told}");
    }

    #[cfg(feature = "cloud")]
    #[test]
    fn a_store_opens_with_the_usual_variables_and_sends_nothing() {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
            ("AWS_ALLOW_HTTP", "true"),
            ("UNRELATED", "x"),
        ];
        let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let address = Address::parse("s3://bucket/a").unwrap();
        let store = open(&address, variables.into_iter()).unwrap();
        assert!(store.abilities().swap && store.abilities().conditional_delete);
        assert!(!format!("{store:?}").contains("secret\""), "{store:?}");
    }
}
