//! The weights of attention over latents of single tokens and of several in one (DeepSeek-V4), and of what mixes the copies of
//! the residual around it.

use super::compressed::PICKED;
use super::weights::List;
use crate::shape::error::ShapeError;
use crate::shape::{Compressed, Role};

impl List<'_> {
    /// The weights of such attention.
    pub(super) fn compressed_attention(
        &mut self,
        layer: &str,
        kept: Compressed,
    ) -> Result<(), ShapeError> {
        let (keys, sizes) = (self.model.keys, self.model.sizes);
        let (h, heads, width) = (sizes.hidden, sizes.heads, kept.width);
        let rank = keys.size(&["q_lora_rank"])?;
        let groups = keys.size(&["o_groups"])?;
        let outputs = groups * keys.size(&["o_lora_rank"])?;
        let at = |name: &str| format!("{layer}.self_attn.{name}");
        self.matrix(&at("wq_a"), [rank, h], Role::Latent, 1);
        self.plain(&at("q_norm.weight"), &[rank], Role::Norm);
        self.matrix(&at("wq_b"), [heads * width, rank], Role::Query, 1);
        self.matrix(&at("wkv"), [width, h], Role::Latent, 1);
        self.plain(&at("kv_norm.weight"), &[width], Role::Norm);
        let of_group = heads * width / groups;
        self.matrix(&at("wo_a"), [outputs, of_group], Role::Query, 1);
        self.matrix(&at("wo_b"), [h, outputs], Role::Output, 1);
        self.plain(&at("attn_sink"), &[heads], Role::Query);
        if kept.ratio > 0 {
            self.compressor(&at("compressor"), width, kept.ratio);
        }
        if kept.index > 0 {
            let heads = keys.size(&["index_n_heads"])?;
            let queries = [heads * kept.index, rank];
            self.matrix(&at("indexer.wq_b"), queries, Role::Latent, 1);
            self.plain(&at("indexer.weights"), &[heads, h], Role::Latent);
            self.compressor(&at("indexer.compressor"), kept.index, kept.ratio);
        }
        Ok(())
    }

    /// Values and their weights, of the own tokens and of those before them where these overlap, and where each stands.
    fn compressor(&mut self, module: &str, width: usize, ratio: usize) {
        let inside = if ratio == PICKED { 2 * width } else { width };
        let h = self.model.sizes.hidden;
        self.plain(&format!("{module}.weight"), &[2 * inside, h], Role::Latent);
        self.plain(&format!("{module}.ape"), &[ratio, inside], Role::Latent);
        self.plain(&format!("{module}.norm.weight"), &[width], Role::Norm);
    }

    /// What mixes the residual streams, before attention and before the experts.
    pub(super) fn streams(&mut self, layer: &str) -> Result<(), ShapeError> {
        let Some(streams) = self.model.keys.count(&["hc_mult"])? else {
            return Ok(());
        };
        let mixes = 2 * (2 + streams) * streams;
        let shape = [mixes, streams * self.model.sizes.hidden];
        self.plain(&format!("{layer}.streams.weight"), &shape, Role::Other);
        Ok(())
    }
}
