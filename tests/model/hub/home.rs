//! A cache of its own for each test, and a word on what came out of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use candlepower::ground::Progress;
use candlepower::hub::{
    HubError, HubSettings, ModelSource, Patience, ResolveOptions, WeightFiles, resolve,
};

use super::server::COMMIT;

pub const MODEL: &str = "org/some-model";
pub const SECRET: &str = "hf_very_secret";
pub const CONFIG_TEXT: &str = r#"{"model_type": "qwen2"}"#;

/// A cache directory of its own and the settings that point at it.
pub struct Home {
    pub dir: tempfile::TempDir,
    pub options: ResolveOptions,
    /// Set from outside.
    pub stop: AtomicBool,
}

impl Progress for Home {
    fn stop(&self) -> &AtomicBool {
        &self.stop
    }
}

impl Home {
    pub fn new(endpoint: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ResolveOptions {
            dummy_weights: false,
            settings: HubSettings {
                cache: dir.path().join("hub"),
                endpoint: endpoint.to_owned(),
                token: None,
                offline: false,
                retry_pause: Duration::from_millis(1),
                patience: Patience::default(),
            },
        };
        let stop = AtomicBool::new(false);
        Self { dir, options, stop }
    }

    /// A home without any hub: a request to it would fail.
    pub fn unconnected() -> Self {
        Self::new("http://127.0.0.1:9")
    }

    pub fn resolve(&self, model: &str) -> Result<ModelSource, HubError> {
        resolve(model, &self.options, self)
    }

    pub fn message(&self, model: &str) -> String {
        let message = self.resolve(model).unwrap_err().to_string();
        assert!(
            !message.contains(SECRET) && !message.contains('\n'),
            "{message}"
        );
        message
    }

    pub fn repo_dir(&self) -> PathBuf {
        self.dir.path().join("hub/models--org--some-model")
    }

    /// Puts a complete one-file checkpoint into the cache, as another tool would.
    pub fn fill_cache(&self, folder: &str, files: &[&str]) {
        let repo = self.dir.path().join("hub").join(folder);
        let snapshot = repo.join("snapshots").join(COMMIT);
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), COMMIT).unwrap();
        for file in files {
            std::fs::write(snapshot.join(file), CONFIG_TEXT).unwrap();
        }
    }
}

pub fn single(source: &ModelSource) -> &Path {
    match &source.weights {
        WeightFiles::Single(path) => path,
        other => panic!("{other:?}"),
    }
}
