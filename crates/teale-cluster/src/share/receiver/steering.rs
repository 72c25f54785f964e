//! What a pull does next: which files it fetches, of whom it asks more, when it gives up.

use std::sync::Arc;

use rand::RngExt;
use teale_wire::{ClusterMessage, Extra, ModelTransferRequest, TransferId};

use super::{
    super::{bounds, manifest::Manifest},
    Output, PullError, Receiver,
    plan::Plan,
    source::{Source, Standing},
};

impl Receiver {
    /// Does whatever has become possible: choose, ask for more, finish, give up.
    pub(super) fn move_on(&mut self) {
        if self.over || self.finishing {
            return;
        }
        if self.plan.is_none() {
            self.choose();
        }
        let has_hope = |source: &Source| match &self.plan {
            Some(plan) => source.has_hope() && (source.offer.is_none() || source.offers(&plan.manifest)),
            None => source.has_hope(),
        };
        if self.sources.values().any(has_hope) || self.plan.as_ref().is_some_and(|plan| !plan.begun) {
            self.hope = self.now;
        }
        if self.plan.as_ref().is_some_and(Plan::is_complete) {
            self.finishing = true;
            for peer in self.sources.keys().copied().collect::<Vec<_>>() {
                self.release(peer, true);
            }
            self.out.push_back(Output::Finish);
            return;
        }
        self.ask_for_more();
        let out_of_patience = self.now >= self.hope + self.patience();
        if self.hope < self.now && !self.change_plan(out_of_patience) && out_of_patience {
            let is_dropped = |source: &&Source| matches!(source.standing, Standing::Dropped(_));
            let dropped = self.sources.values().filter(is_dropped).count();
            let nobody = self.plan.is_none() && dropped == 0;
            self.end(Err(if nobody { PullError::NotFound } else { PullError::NoSource { dropped } }));
        }
    }

    /// Chooses what most sources offer; what was begun before comes first.
    fn choose(&mut self) {
        let Some(first) = self.offered else { return };
        let waiting = self.sources.values().any(|source| matches!(source.standing, Standing::Asked(_)));
        if waiting && self.now < first + bounds::CHOICE {
            return;
        }
        let offers: Vec<&Arc<Manifest>> = self
            .sources
            .values()
            .filter(|source| source.is_ready())
            .filter_map(|source| source.offer.as_ref())
            .collect();
        let known = |offer: &Manifest| self.config.begun.as_ref().is_some_and(|begun| begun.agrees(offer));
        let votes = |offer: &Manifest| offers.iter().filter(|other| other.agrees(offer)).count();
        let Some(best) = offers.iter().max_by_key(|offer| (known(offer), votes(offer))) else { return };
        let best = Arc::clone(best);
        self.begin(best);
    }

    fn begin(&mut self, manifest: Arc<Manifest>) {
        self.cooling.clear();
        self.shown = 0;
        self.out.push_back(Output::Begin(Arc::clone(&manifest)));
        self.plan = Some(Plan::new(manifest));
    }

    /// Turns to what other sources offer, when all that offered the chosen files were dropped for what they sent, or
    /// are gone for too long.
    fn change_plan(&mut self, out_of_patience: bool) -> bool {
        let Some(plan) = &self.plan else { return false };
        let ours = || self.sources.values().filter(|source| source.offers(&plan.manifest));
        if !out_of_patience && ours().any(|source| !matches!(source.standing, Standing::Dropped(_))) {
            return false;
        }
        let other = self.sources.values().find(|source| source.is_ready() && !source.offers(&plan.manifest));
        let Some(manifest) = other.and_then(|source| source.offer.clone()) else { return false };
        for peer in self.sources.keys().copied().collect::<Vec<_>>() {
            self.release(peer, true);
        }
        self.hope = self.now;
        self.begin(manifest);
        true
    }

    /// Opens requests wherever there is room.
    fn ask_for_more(&mut self) {
        let Some(plan) = self.plan.as_mut().filter(|plan| plan.begun) else { return };
        let mut busy = self.sources.values().filter(|source| !source.jobs.is_empty()).count();
        for (peer, source) in &mut self.sources {
            if !source.is_ready() || !source.offers(&plan.manifest) {
                continue;
            }
            if source.jobs.is_empty() {
                if busy >= bounds::FETCHING || !plan.has_free() {
                    continue;
                }
                busy += 1;
                source.heard = self.now;
            }
            while source.has_room() {
                let mut random: [u8; 16] = self.rng.random();
                random[..4].copy_from_slice(&self.tag.to_be_bytes());
                let id = TransferId::from_random(random);
                let Some(range) = source.next_range(plan, id.clone()) else { break };
                if source.transfers.len() == 1 {
                    source.heard = self.now;
                }
                let request = ModelTransferRequest {
                    transfer_id: id,
                    model_id: plan.manifest.model().to_owned(),
                    resume: Vec::new(),
                    range: Some(range),
                    extra: Extra::new(),
                };
                let request = ClusterMessage::ModelTransferRequest(Box::new(request));
                self.out.push_back(Output::Send(*peer, request));
            }
        }
    }
}
