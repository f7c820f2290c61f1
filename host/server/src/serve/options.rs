//! What the configuration means to each part of the process.

use crate::config::Config;
use crate::doors::{DoorConfig, SourceConfig};
use crate::http::{BodyLimits, ListenerLimits};
use alertmill_core::value::Text;
use alertmill_stores::folder::FolderOptions;
use std::time::Duration;

/// Of a segment's bytes, more than what is in it beside the frames of records.
const SEGMENT_HEADS_BYTES: usize = 4 << 10;

/// How the data folder is opened.
pub fn folder_options(config: &Config) -> FolderOptions {
    let mut options = FolderOptions::default();
    options.journal.segment_bytes = config.data.journal_segment.0;
    options.journal.keep_bytes = config.data.journal_keep.0;
    options.journal.disk_bytes_max = config.data.journal_max.0;
    // What gathers while a slow disk syncs goes into one group, but a group fits in a segment: the least `data.journal_max` has
    // room for no more, and a group that never fits would be refused for ever.
    let segment_holds = config.data.journal_segment.as_usize().saturating_sub(SEGMENT_HEADS_BYTES);
    options.journal.group_bytes_max = (config.limits.queue.as_usize() / 4).max(options.journal.group_bytes_max).min(segment_holds);
    options.journal.queue_bytes_max = config.limits.queue.as_usize();
    options.journal.live_bytes_max = config.limits.queue.as_usize();
    // Nothing is shipped in this version; alerts that waited for it would never be retired.
    options.embedded.outbox = false;
    options.embedded.dead_letters_per_source_max = u64::from(config.retention.dead_letters_per_source);
    options.embedded.dead_letter_bytes_per_source_max = config.retention.dead_letters_size.0;
    options
}

/// The doors.
pub fn door_config(config: &Config) -> DoorConfig {
    let source = |enabled: bool, name: &str| enabled.then(|| Text::new(name));
    DoorConfig {
        body: BodyLimits {
            sent_max: config.limits.body.as_usize(),
            decoded_max: config.limits.body_decoded.as_usize(),
            total: Duration::from_secs(config.limits.body_timeout_s),
            ..BodyLimits::default()
        },
        items_max: config.limits.items as usize,
        events_source: source(config.doors.events.enabled, &config.doors.events.source),
        alertmanager_source: source(config.doors.alertmanager.enabled, &config.doors.alertmanager.source),
        sources: config.sources.iter().map(|(name, source)| (Text::new(name), SourceConfig::of(source))).collect(),
        ..DoorConfig::default()
    }
}

/// What the listener bears.
pub fn listener_limits(config: &Config) -> ListenerLimits {
    ListenerLimits {
        header_timeout: Duration::from_secs(config.limits.header_timeout_s),
        keep_alive: Duration::from_secs(config.limits.keep_alive_s),
        connections_max: config.limits.connections as usize,
        connections_per_ip_max: config.limits.connections_per_address as usize,
        stop_grace: Duration::from_secs(config.server.stop_grace_s),
        ..ListenerLimits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::ByteSize;

    #[test]
    fn what_gathers_for_the_journal_fits_in_a_segment_whatever_may_be_queued() {
        for (queue, segment) in [(1024, 64), (16, 64), (1024, 1), (1, 1)] {
            let mut config = Config::default();
            (config.limits.queue, config.data.journal_segment) = (ByteSize::mib(queue), ByteSize::mib(segment));
            let options = folder_options(&config);
            assert!(options.journal.group_bytes_max < config.data.journal_segment.as_usize(), "queue {queue} MiB, segment {segment} MiB");
        }
        assert_eq!(folder_options(&Config::default()).journal.group_bytes_max, Config::default().limits.queue.as_usize() / 4, "the defaults need no cut");
    }
}
