//! Documents that clients name by their hash: automatic persisted queries, which any client may store,
//! and trusted documents, which nobody may (a file lists them, and nothing else is run). This module
//! must never run one.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use sha2::{Digest as _, Sha256};

/// Most documents that clients may have stored; the least used goes first.
const PERSISTED: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");
/// Longest document that is stored; so all of them have 16 MiB at most.
const PERSISTED_BYTES: usize = 16 * 1024;
/// Largest file of trusted documents that is read.
const TRUSTED_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Why a document cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    /// Nobody stored it, or it was forgotten. The client sends it again with its text.
    #[error("PersistedQueryNotFound")]
    NotFound,
    #[error("The hash is not the SHA-256 of the query, in hexadecimal.")]
    OtherHash,
    #[error("A document that is stored has {PERSISTED_BYTES} bytes at most.")]
    TooLong,
    #[error("This gateway runs documents of its list only: name one by its id.")]
    Untrusted,
    #[error("There is neither a query nor the id of one.")]
    Missing,
}

/// A list of trusted documents that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustedError {
    /// It cannot be read.
    #[error("the trusted documents in {file} cannot be read: {why}")]
    Unreadable {
        /// Which.
        file: String,
        /// What happened.
        why: String,
    },
    /// It is no object of texts.
    #[error(
        "{file} does not list trusted documents ({why}): write a JSON object with each document's id, for example its SHA-256, and its text"
    )]
    NoList {
        /// Which.
        file: String,
        /// What is wrong.
        why: String,
    },
}

/// The documents that a gateway knows by name.
#[derive(Debug)]
pub enum Documents {
    /// Those that clients have stored.
    Persisted(Mutex<LruCache<String, Arc<str>>>),
    /// Those of the list.
    Trusted {
        /// Each by its id.
        by_id: HashMap<String, Arc<str>>,
        /// All, for those that send the text.
        texts: HashSet<Arc<str>>,
    },
}

impl Default for Documents {
    fn default() -> Self {
        Self::Persisted(Mutex::new(LruCache::new(PERSISTED)))
    }
}

impl Documents {
    /// The trusted documents in a file: a JSON object of id and text.
    ///
    /// # Errors
    /// [`TrustedError`].
    pub fn trusted(file: &Path) -> Result<Self, TrustedError> {
        let name = file.display().to_string();
        let unreadable = |why: String| TrustedError::Unreadable { file: name.clone(), why };
        let bytes = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
        if bytes > TRUSTED_FILE_BYTES {
            return Err(unreadable(format!("it has more than {TRUSTED_FILE_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
        let list: HashMap<String, Arc<str>> =
            serde_json::from_str(&text).map_err(|error| TrustedError::NoList { file: name.clone(), why: error.to_string() })?;
        for (id, text) in &list {
            if let Err(error) = async_graphql::parser::parse_query(text) {
                return Err(TrustedError::NoList { file: name, why: format!("{id}: {error}") });
            }
        }
        Ok(Self::Trusted { texts: list.values().cloned().collect(), by_id: list })
    }

    /// The text to run, of a request with this query and this id.
    pub(crate) fn text(&self, query: Option<&str>, id: Option<&str>) -> Result<Arc<str>, DocumentError> {
        let query = query.filter(|query| !query.is_empty());
        match self {
            Self::Trusted { by_id, texts } => match (id, query) {
                (Some(id), None) => by_id.get(id),
                (Some(id), Some(query)) => by_id.get(id).filter(|text| ***text == *query),
                (None, Some(query)) => texts.get(query),
                (None, None) => return Err(DocumentError::Missing),
            }
            .cloned()
            .ok_or(DocumentError::Untrusted),
            Self::Persisted(stored) => match (query, id) {
                (Some(query), None) => Ok(query.into()),
                (Some(query), Some(hash)) => store(stored, query, hash),
                (None, Some(hash)) => {
                    stored.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned().ok_or(DocumentError::NotFound)
                }
                (None, None) => Err(DocumentError::Missing),
            },
        }
    }
}

fn store(stored: &Mutex<LruCache<String, Arc<str>>>, query: &str, hash: &str) -> Result<Arc<str>, DocumentError> {
    if query.len() > PERSISTED_BYTES {
        return Err(DocumentError::TooLong);
    }
    let real: String = Sha256::digest(query).iter().map(|byte| format!("{byte:02x}")).collect();
    if real != hash {
        return Err(DocumentError::OtherHash);
    }
    let text: Arc<str> = query.into();
    stored.lock().unwrap_or_else(PoisonError::into_inner).put(real, Arc::clone(&text));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "{__typename}";
    const HASH: &str = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38";

    #[test]
    fn a_document_is_known_by_its_hash_once_it_came_with_it() {
        let documents = Documents::default();
        assert_eq!(documents.text(None, Some(HASH)), Err(DocumentError::NotFound));
        assert_eq!(documents.text(Some("{ other }"), Some(HASH)), Err(DocumentError::OtherHash));
        assert_eq!(documents.text(None, Some(HASH)), Err(DocumentError::NotFound));
        assert_eq!(documents.text(Some(QUERY), Some(HASH)).as_deref(), Ok(QUERY));
        assert_eq!(documents.text(None, Some(HASH)).as_deref(), Ok(QUERY));
        assert_eq!(documents.text(None, None), Err(DocumentError::Missing));
    }

    #[test]
    fn nothing_but_the_list_is_run_where_there_is_one() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!(r#"{{"one": "{QUERY}"}}"#)).expect("written");
        let documents = Documents::trusted(file.path()).expect("a list");
        assert_eq!(documents.text(None, Some("one")).as_deref(), Ok(QUERY));
        assert_eq!(documents.text(Some(QUERY), None).as_deref(), Ok(QUERY));
        for (query, id) in [(Some("{ other }"), None), (Some("{ other }"), Some("one")), (None, Some("two"))] {
            assert_eq!(documents.text(query, id), Err(DocumentError::Untrusted), "{query:?} {id:?}");
        }
        std::fs::write(file.path(), r#"{"one": "{"}"#).expect("written");
        assert!(Documents::trusted(file.path()).is_err(), "no document");
    }
}
