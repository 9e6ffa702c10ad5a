//! The other ranks, as one that waits for its GPU sees them.

use std::sync::{Arc, Weak};

use crate::ops::cuda::Peers;
use crate::ops::cuda::exchange::Inboxes;
use crate::parallel::Failed;
use crate::parallel::nccl::Nccl;

/// By default there are none. What they share is not held here, for it holds the GPU.
#[derive(Default)]
pub struct Others {
    pub failed: Option<Failed>,
    pub nccl: Option<Weak<Nccl>>,
    pub inboxes: Vec<Weak<Inboxes>>,
}

impl Others {
    fn nccl(&self) -> Option<Arc<Nccl>> {
        self.nccl.as_ref().and_then(Weak::upgrade)
    }

    fn inboxes(&self) -> impl Iterator<Item = Arc<Inboxes>> {
        self.inboxes.iter().filter_map(Weak::upgrade)
    }
}

impl Peers for Others {
    fn failure(&self) -> Option<String> {
        let told = self.failed.as_ref().and_then(|failed| failed());
        told.or_else(|| self.nccl()?.failure())
    }

    fn give_up(&self) {
        self.nccl().inspect(|nccl| nccl.give_up());
        self.inboxes().for_each(|inboxes| inboxes.abort());
    }

    /// A communicator is one rank's own; inboxes are everybody's.
    fn are_given_up(&self) -> bool {
        self.inboxes().any(|inboxes| inboxes.is_aborted())
    }
}
