//! Every failure of `docs/scenarios.md`, with the faults that are planted for it
//! and the tests that must find them, or with what it waits for.
//!
//! Only data. `cargo xtask tidy` holds it complete and true.

/// One line of `docs/scenarios.md`.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) state: State,
}

/// What there is of it.
pub(crate) enum State {
    /// These faults can be put back.
    Planted(&'static [Fault]),
    /// Its feature is not there yet.
    Comes(Feature),
    /// No fault of the engine's: this test of another room holds it.
    Elsewhere(Test),
}

/// A switch in the engine.
pub(crate) struct Fault {
    /// As in `planted!(name)`.
    pub(crate) name: &'static str,
    /// Each of them must fail with the fault in, and pass without.
    pub(crate) tests: &'static [Test],
}

/// A test, as `cargo test` would be told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    /// The directory below `crates/`.
    pub(crate) room: &'static str,
    /// The file below `tests/`; `lib` for unit tests.
    pub(crate) target: &'static str,
    pub(crate) name: &'static str,
}

impl Test {
    /// The last part of its name: that of the function.
    pub(crate) fn function(&self) -> &'static str {
        self.name.rsplit("::").next().unwrap_or(self.name)
    }
}

/// Something that is still to be built, and how to see that it has been.
#[derive(Clone, Copy)]
pub(crate) struct Feature {
    pub(crate) what: &'static str,
    /// It is there when a file whose path starts so …
    pub(crate) below: &'static str,
    /// … has this in it.
    pub(crate) text: &'static str,
}

const fn feature(what: &'static str, below: &'static str, text: &'static str) -> Feature {
    Feature { what, below, text }
}

const INGEST: Feature = feature("ingestion", "crates/engine/src/", "pub fn ingest(");
const CLEAR: Feature = feature("clear", "crates/engine/src/api/keyspace", "pub fn clear(");
const RANGES: Feature = feature("range deletes", "crates/engine/src/", "pub fn delete_range(");
const BLOBS: Feature = feature("blob files", "crates/engine/src/lib.rs", "mod blob");
const REMOTE: Feature = feature("the remote copy", "crates/cli/src/verbs/serve", "remote:");
const JOBS: Feature = feature("offloaded compaction", "crates/remote/src/lib.rs", "mod worker");
const TIER: Feature = feature("the cold tier", "crates/remote/src/lib.rs", "mod cold");
const REDIS: Feature = feature("the Redis protocol", "crates/server/src/", "mod resp;");
const ACCESS: Feature = feature("access control", "crates/server/src/", "mod access;");

/// A unit test of the engine.
macro_rules! unit {
    ($name:literal) => {
        Test { room: "engine", target: "lib", name: $name }
    };
}

/// One of `crates/engine/tests/scenarios.rs`.
macro_rules! scenario {
    ($name:literal) => {
        Test { room: "engine", target: "scenarios", name: $name }
    };
}

/// One of `crates/engine/tests/disk_errors.rs`.
macro_rules! disk_error {
    ($name:literal) => {
        Test { room: "engine", target: "disk_errors", name: $name }
    };
}

/// One of `crates/engine/tests/checkpoint.rs`.
macro_rules! checkpoint {
    ($name:literal) => {
        Test { room: "engine", target: "checkpoint", name: $name }
    };
}

/// One of `crates/engine/tests/changes.rs`.
macro_rules! change {
    ($name:literal) => {
        Test { room: "engine", target: "changes", name: $name }
    };
}

/// One of `crates/engine/tests/queues.rs`.
macro_rules! queue {
    ($name:literal) => {
        Test { room: "engine", target: "queues", name: $name }
    };
}

/// A cursor of an earlier moment beside readers of now.
const LOOKS_BACK: Test =
    queue!("a_cursor_that_looks_back_makes_nothing_known_that_later_readers_see_otherwise");

/// One of `crates/engine/tests/memory.rs`.
macro_rules! memory {
    ($name:literal) => {
        Test { room: "engine", target: "memory", name: $name }
    };
}

/// One of `crates/engine/tests/cache_shares.rs`.
macro_rules! cache_share {
    ($name:literal) => {
        Test { room: "engine", target: "cache_shares", name: $name }
    };
}

/// One of `crates/sim/tests/`.
macro_rules! simulated {
    ($target:literal, $name:literal) => {
        Test { room: "sim", target: $target, name: $name }
    };
}

/// Ten lives beside another store: nothing in it knows of any fault.
const DIFFERENTIAL: Test = Test {
    room: "differential",
    target: "differential",
    name: "ten_lives_answer_as_another_store_does",
};

/// Plans of seeds: nothing in it knows of checkpoints but the operation.
const SIMULATED_CHECKPOINT: Test = Test {
    room: "sim",
    target: "checkpoints",
    name: "lives_with_many_checkpoints_keep_each_of_them",
};

/// Plans of seeds with one who follows the changes.
const FOLLOWED: Test = Test {
    room: "sim",
    target: "followers",
    name: "a_follower_misses_nothing_and_repeats_nothing_in_any_life",
};

const fn planted(name: &'static str, faults: &'static [Fault]) -> Scenario {
    Scenario { name, state: State::Planted(faults) }
}

const fn comes(name: &'static str, feature: Feature) -> Scenario {
    Scenario { name, state: State::Comes(feature) }
}

/// A test of the server, below `crates/server/tests/`.
const fn served(name: &'static str, target: &'static str, test: &'static str) -> Scenario {
    Scenario { name, state: State::Elsewhere(Test { room: "server", target, name: test }) }
}

/// One of `crates/remote/tests/`, or a unit test there.
macro_rules! bucket {
    ($target:literal, $name:literal) => {
        Test { room: "remote", target: $target, name: $name }
    };
}

const fn bucket_fault(name: &'static str, tests: &'static [Test]) -> Fault {
    Fault { name, tests }
}

/// A fault under the scenario's own name.
macro_rules! one {
    ($name:literal, $($test:expr),+) => {
        planted($name, &[Fault { name: $name, tests: &[$($test),+] }])
    };
}

/// In the order of the list.
pub(crate) const SCENARIOS: &[Scenario] = &[
    // Logs, manifest, files.
    one!("wal_error_swallowed", unit!("wal::failure_tests::wal_error_swallowed")),
    one!("midlog_corruption_silent", unit!("wal::failure_tests::midlog_corruption_silent")),
    one!("append_after_torn_tail", unit!("wal::failure_tests::append_after_torn_tail")),
    one!("recycled_wal_stale_records", unit!("wal::failure_tests::recycled_wal_stale_records")),
    one!("older_wal_lost_newer_kept", unit!("wal::failure_tests::older_wal_lost_newer_kept")),
    one!("only_latest_wal_replayed", unit!("wal::failure_tests::only_latest_wal_replayed")),
    one!("replay_boundary_too_high", scenario!("replay_boundary_too_high")),
    comes("ingest_seqno_not_recovered", INGEST),
    planted(
        "seqnos_given_twice",
        &[
            Fault {
                name: "seqnos_not_leaped",
                tests: &[
                    Test {
                        room: "engine",
                        target: "seqnos",
                        name: "no_number_is_given_twice_whatever_the_durability_and_the_end",
                    },
                    simulated!("seqnos", "no_number_names_two_writes_whatever_is_lost"),
                ],
            },
            Fault {
                name: "seqno_ceiling_behind_its_use",
                tests: &[simulated!("seqnos", "no_number_names_two_writes_whatever_is_lost")],
            },
        ],
    ),
    one!(
        "current_rename_not_dirsynced",
        unit!("tree::manifest::tests::scenarios::current_rename_not_dirsynced")
    ),
    one!(
        "manifest_sync_fail_then_delete",
        unit!("tree::manifest::tests::scenarios::manifest_sync_fail_then_delete")
    ),
    one!(
        "manifest_enospc_middle",
        unit!("tree::manifest::tests::scenarios::manifest_enospc_middle")
    ),
    one!(
        "manifest_full_disk_ends_writing",
        unit!(
            "tree::manifest::tests::scenarios::an_edit_on_a_full_disk_has_its_room_or_changes_nothing_and_heals"
        ),
        disk_error!(
            "a_manifest_on_a_full_disk_refuses_puts_and_ends_by_itself_whoever_wanted_the_edit"
        ),
        simulated!(
            "disk_faults",
            "a_full_disk_under_the_manifest_loses_nothing_and_needs_no_opening"
        )
    ),
    planted(
        "large_log_on_a_small_disk",
        &[Fault {
            name: "no_smaller_log_is_tried",
            tests: &[unit!(
                "wal::failure_tests::where_a_large_log_finds_no_room_a_smaller_one_is_tried"
            )],
        }],
    ),
    one!(
        "failed_publish_is_tried_again",
        disk_error!("a_failed_sync_of_the_directory_in_a_job_ends_the_writing"),
        simulated!(
            "disk_faults",
            "a_jobs_failed_sync_of_the_directory_ends_the_writing_and_loses_nothing"
        )
    ),
    one!(
        "flush_takes_what_is_left",
        unit!(
            "tree::store::descriptors::tests::tables_that_are_read_or_flushed_leave_half_of_the_descriptors_to_others"
        )
    ),
    one!(
        "low_priority_holds_up_writers",
        unit!("write::commit::holdups::a_seal_waits_for_no_thread_that_looks_for_work")
    ),
    planted(
        "seal_with_full_caches",
        &[
            Fault {
                name: "seal_divides_the_memory",
                tests: &[unit!(
                    "write::commit::holdups::a_write_gives_up_few_blocks_at_a_time_however_full_the_caches_are"
                )],
            },
            Fault {
                name: "eviction_walks_all",
                tests: &[Test {
                    room: "table",
                    target: "lib",
                    name: "cache::sieve::tests::a_thing_goes_after_a_few_hundred_looks_however_many_were_used",
                }],
            },
        ],
    ),
    one!(
        "directory_synced_after_a_failure",
        Test {
            room: "vfs",
            target: "lib",
            name: "dir_syncs::tests::a_directory_whose_sync_failed_is_never_said_to_be_durable_again",
        },
        disk_error!("a_write_beside_a_job_whose_sync_of_the_directory_failed_is_not_acknowledged")
    ),
    one!(
        "room_noticed_a_second_late",
        unit!("write::commit::full_disk::a_delete_waits_for_no_retry_once_the_disk_has_room_again")
    ),
    one!(
        "room_noticed_by_writes_alone",
        unit!(
            "background::schedule::quiet::tests::room_on_a_full_disk_is_noticed_though_nobody_writes"
        )
    ),
    one!(
        "bad_table_stops_the_others",
        disk_error!("one_unreadable_table_is_set_aside_and_all_others_are_compacted"),
        simulated!(
            "disk_faults",
            "a_bad_sector_of_one_table_refuses_no_write_and_stops_no_other_job"
        )
    ),
    one!(
        "panic_while_picking_not_caught",
        disk_error!("a_panic_while_a_thread_looks_for_work_is_told_as_one_in_a_job_is")
    ),
    one!(
        "fsync_retry_lies",
        unit!("wal::failure_tests::fsync_retry_lies"),
        Test {
            room: "engine",
            target: "lying_syncs",
            name: "what_a_new_process_acknowledges_survives_though_a_sync_failed_in_the_one_before",
        }
    ),
    one!(
        "group_commit_one_waiter_sees_error",
        unit!("write::commit::tests::group_commit_one_waiter_sees_error"),
        unit!("write::commit::groups::every_small_group_keeps_what_each_member_was_promised")
    ),
    // The engine has no futures, and says so in ARCHITECTURE.md; the server has.
    served(
        "cancelled_future_half_commits",
        "faults",
        "batches_whose_clients_went_away_are_there_whole_or_not_at_all",
    ),
    one!("leftover_temp_blocks_open", unit!("wal::failure_tests::leftover_temp_blocks_open")),
    one!(
        "repair_panics_on_garbage",
        Test { room: "engine", target: "repair", name: "repair_panics_on_garbage" }
    ),
    one!("stall_forever_after_kill", scenario!("stall_forever_after_kill")),
    one!(
        "logs_pile_up_with_openings",
        Test {
            room: "sim",
            target: "lives",
            name: "lives_of_one_put_leave_a_bounded_number_of_logs_however_they_end",
        },
        Test { room: "sim", target: "lives", name: "lives_that_only_read_leave_nothing_behind" }
    ),
    one!(
        "restore_needs_a_larger_budget",
        unit!(
            "opening::recovery::tests::a_log_of_ten_times_the_budget_is_replayed_within_the_budget"
        )
    ),
    one!(
        "batch_measured_in_log_bytes",
        unit!(
            "write::commit::tests::no_batch_takes_more_memory_than_the_budget_gives_to_memtables"
        )
    ),
    one!(
        "delete_refused_behind_its_flush",
        Test {
            room: "sim",
            target: "full_disk",
            name: "a_delete_that_has_waited_for_a_flush_goes_on_though_puts_are_refused",
        }
    ),
    // Compaction, visibility, caches.
    comes("clear_resurrects_after_replay", CLEAR),
    comes("clear_races_compaction", CLEAR),
    one!(
        "delete_at_bottom_drops_snapshot_version",
        unit!("tree::compaction::visible::tests::delete_at_bottom_drops_snapshot_version")
    ),
    one!(
        "snapshot_dirty_read_during_compaction",
        scenario!("snapshot_dirty_read_during_compaction")
    ),
    one!("snapshot_missed_by_flush", scenario!("snapshot_missed_by_flush"), DIFFERENTIAL),
    one!("seq_taken_before_version_pinned", scenario!("seq_taken_before_version_pinned")),
    planted(
        "dead_span_hides_a_put",
        &[
            Fault {
                name: "dead_span_survives_a_put",
                tests: &[
                    queue!("the_newest_is_found_from_the_back_over_whatever_was_deleted_there"),
                    unit!("read::dead_spans::tests::no_reader_steps_over_what_it_sees_alive"),
                ],
            },
            Fault {
                name: "dead_span_of_a_later_moment",
                tests: &[
                    queue!("a_snapshot_walks_its_own_dead_keys_once_while_the_queue_runs_on"),
                    unit!("read::dead_spans::tests::no_reader_steps_over_what_it_sees_alive"),
                ],
            },
            Fault { name: "dead_walk_blind_to_newer", tests: &[LOOKS_BACK] },
            Fault { name: "dead_walk_beside_a_memtable", tests: &[LOOKS_BACK] },
        ],
    ),
    Scenario {
        name: "queue_over_tombstones",
        state: State::Elsewhere(queue!(
            "a_look_at_the_head_costs_the_same_however_many_were_deleted"
        )),
    },
    one!("lost_inserts_bulk", scenario!("lost_inserts_bulk"), DIFFERENTIAL),
    one!(
        "same_user_key_across_files",
        unit!("tree::compaction::run::tests::same_user_key_across_files")
    ),
    one!(
        "two_compactions_same_inputs",
        unit!("tree::compaction::tests::two_compactions_same_inputs")
    ),
    one!(
        "missing_edit_passes",
        unit!("tree::manifest::tests::numbers::an_edit_that_is_missing_or_stands_twice_is_damage")
    ),
    one!(
        "blocks_bound_to_ids_alone",
        Test {
            room: "table",
            target: "origin",
            name: "a_block_of_the_same_id_and_place_in_another_epoch_does_not_pass",
        }
    ),
    planted(
        "merge_loses_an_entry",
        &[
            Fault {
                name: "merge_loses_an_entry",
                tests: &[unit!(
                    "tree::compaction::run::tests::a_merge_writes_the_newest_versions_and_counts_what_it_did"
                )],
            },
            Fault {
                name: "outputs_committed_unchecked",
                tests: &[
                    unit!("tree::compaction::check::tests::outputs_that_lost_an_entry_are_refused"),
                    unit!(
                        "tree::compaction::check::tests::outputs_that_reach_beyond_their_job_are_refused"
                    ),
                ],
            },
        ],
    ),
    planted(
        "headers_lost_in_a_later_epoch",
        &[
            Fault {
                name: "headless_log_of_one_epoch",
                tests: &[unit!(
                    "wal::epoch_tests::synced_records_behind_a_lost_header_are_no_torn_tail_in_a_later_epoch"
                )],
            },
            Fault {
                name: "repair_knows_one_epoch",
                tests: &[Test {
                    room: "engine",
                    target: "repair",
                    name: "a_damaged_header_costs_no_record_in_a_later_epoch_either",
                }],
            },
        ],
    ),
    one!(
        "growing_log_taken_for_damage",
        Test {
            room: "engine",
            target: "read_only",
            name: "a_log_that_grows_while_it_is_read_is_not_damaged",
        }
    ),
    planted(
        "offloaded_compaction_outputs",
        &[
            Fault {
                name: "failed_compactor_leaves_files",
                tests: &[unit!(
                    "background::compact::elsewhere_tests::a_compaction_elsewhere_that_fails_leaves_no_file_and_is_done_by_the_database"
                )],
            },
            Fault {
                name: "job_syncs_the_directory",
                tests: &[unit!(
                    "background::compact::elsewhere_tests::a_compaction_elsewhere_leaves_it_to_the_database_to_make_its_names_durable"
                )],
            },
        ],
    ),
    one!("base_level_skips_nonempty", unit!("tree::compaction::tests::base_level_skips_nonempty")),
    comes("range_tombstone_truncation", RANGES),
    one!("io_error_returns_older_value", scenario!("io_error_returns_older_value")),
    one!("iterator_swallows_error", unit!("tree::merge::tests::iterator_swallows_error")),
    one!("cache_key_reuse", unit!("read::row_cache::tests::cache_key_reuse"), DIFFERENTIAL),
    one!("row_cache_stale_under_race", unit!("read::row_cache::tests::row_cache_stale_under_race")),
    one!(
        "block_cache_pays_twice",
        Test {
            room: "table",
            target: "cache",
            name: "two_readers_who_miss_the_same_block_pay_for_it_once",
        }
    ),
    one!(
        "evicted_memory_not_returned",
        Test {
            room: "table",
            target: "cache",
            name: "a_cache_that_must_shrink_gives_its_memory_back_to_the_system",
        }
    ),
    planted(
        "caches_without_what_is_free",
        &[
            Fault {
                name: "flush_divides_what_it_holds",
                tests: &[cache_share!(
                    "behind_the_last_flush_the_caches_have_all_that_the_memtables_had"
                )],
            },
            Fault {
                name: "readers_that_end_hand_nothing_on",
                tests: &[cache_share!(
                    "when_the_last_reader_of_a_memtable_goes_the_caches_have_what_it_took"
                )],
            },
            Fault {
                name: "untried_row_cache_has_its_share",
                tests: &[cache_share!("blocks_that_fit_are_all_kept_though_rows_could_be_cached")],
            },
        ],
    ),
    one!(
        "untried_row_cache_holds_no_row",
        simulated!("parts", "every_part_of_the_engine_is_at_work_in_many_lives")
    ),
    one!(
        "huge_page_kept_when_a_part_goes",
        Test {
            room: "table",
            target: "lib",
            name: "memory::block_memory::tests::no_more_memory_is_taken_than_what_is_counted_whatever_is_put_on_huge_pages",
        }
    ),
    one!(
        "blocks_collapsed_while_they_go",
        Test {
            room: "engine",
            target: "lib",
            name: "background::schedule::tests::blocks_are_put_on_huge_pages_only_when_the_cache_has_given_none_back_for_a_while",
        }
    ),
    one!(
        "long_blocks_not_admitted",
        Test {
            room: "table",
            target: "long_values",
            name: "readers_of_long_values_stay_together_within_what_blocks_may_take",
        }
    ),
    planted(
        "ttl_exposes_older",
        &[
            Fault {
                name: "ttl_exposes_older",
                tests: &[unit!("tree::compaction::visible::tests::ttl_exposes_older")],
            },
            Fault {
                name: "ttl_revived_by_clock_set_back",
                tests: &[scenario!("ttl_revived_by_clock_set_back")],
            },
            Fault {
                name: "snapshot_get_judges_by_the_clock",
                tests: &[Test {
                    room: "engine",
                    target: "moments",
                    name: "a_snapshot_shows_the_same_before_and_behind_the_end_of_a_ttl_a_flush_and_a_compaction",
                }],
            },
        ],
    ),
    planted(
        "clock_jumped_forward",
        &[Fault {
            name: "clock_believed_whole",
            tests: &[
                Test {
                    room: "engine",
                    target: "clocks",
                    name: "a_clock_that_is_wrong_for_a_moment_takes_no_key_and_stops_no_time",
                },
                simulated!(
                    "model",
                    "every_answer_is_the_oracles_through_flushes_compactions_kills_and_power_cuts"
                ),
            ],
        }],
    ),
    comes("blob_gc_writes_back_deleted", BLOBS),
    comes("blob_gc_loses_values", BLOBS),
    comes("blob_relocation_wrong_meta", BLOBS),
    one!(
        "backup_vs_deletion",
        unit!("tree::manifest::tests::scenarios::backup_vs_deletion"),
        checkpoint!("tables_and_logs_stay_while_a_checkpoint_needs_them_and_go_afterwards")
    ),
    one!(
        "checkpoint_log_not_pinned",
        checkpoint!("tables_and_logs_stay_while_a_checkpoint_needs_them_and_go_afterwards")
    ),
    one!(
        "checkpoint_log_before_tables",
        checkpoint!("a_batch_of_several_keyspaces_is_whole_whenever_others_write"),
        SIMULATED_CHECKPOINT
    ),
    one!(
        "checkpoint_log_not_synced",
        checkpoint!("at_every_power_cut_a_checkpoint_is_there_whole_or_not_at_all"),
        SIMULATED_CHECKPOINT
    ),
    one!(
        "checkpoint_directory_not_synced",
        checkpoint!("at_every_power_cut_a_checkpoint_is_there_whole_or_not_at_all"),
        SIMULATED_CHECKPOINT
    ),
    one!(
        "checkpoint_name_not_synced",
        checkpoint!("at_every_power_cut_a_checkpoint_is_there_whole_or_not_at_all"),
        SIMULATED_CHECKPOINT
    ),
    one!(
        "checkpoint_name_not_freed",
        checkpoint!("what_a_failed_sync_has_left_never_comes_back_in_part")
    ),
    one!(
        "unsynced_changes_shown",
        change!(
            "what_is_not_synced_is_not_shown_and_is_synced_after_a_while_or_once_there_is_much"
        ),
        change!("a_consumer_misses_nothing_and_repeats_nothing_over_power_cuts_kills_and_closes"),
        FOLLOWED
    ),
    one!(
        "first_change_of_a_log_skipped",
        change!("a_consumer_misses_nothing_and_repeats_nothing_over_power_cuts_kills_and_closes"),
        FOLLOWED
    ),
    one!(
        "held_log_deleted",
        change!("a_consumer_keeps_the_log_that_it_reads_and_its_end_lets_go_of_it"),
        FOLLOWED
    ),
    one!(
        "last_change_repeated_after_resuming",
        change!("a_consumer_misses_nothing_and_repeats_nothing_over_power_cuts_kills_and_closes"),
        FOLLOWED
    ),
    one!(
        "over_4GiB_offsets",
        Test { room: "table", target: "lib", name: "index::tests::over_4gib_offsets" }
    ),
    // Size, time, garbage.
    one!(
        "descriptor_per_table",
        Test { room: "sim", target: "many_tables", name: "descriptor_per_table" }
    ),
    one!(
        "lock_inherited_by_children",
        Test {
            room: "vfs",
            target: "fork",
            name: "a_lock_ends_with_its_drop_though_copies_of_its_descriptor_live",
        }
    ),
    one!(
        "fork_with_an_open_database",
        Test { room: "engine", target: "fork", name: "fork_with_an_open_database" }
    ),
    planted(
        "iterators_pin_memory",
        &[
            Fault {
                name: "iterators_pin_memory",
                tests: &[
                    memory!("iterators_pin_memory"),
                    memory!(
                        "readers_that_move_hold_no_memtable_beyond_its_flush_and_answer_their_own_moment"
                    ),
                ],
            },
            Fault {
                name: "cursor_missed_by_job",
                tests: &[
                    memory!("a_cursor_turns_round_where_its_memtables_have_gone"),
                    memory!("what_expires_during_a_scan_stays_in_it"),
                ],
            },
            Fault {
                name: "queued_batches_without_bound",
                tests: &[unit!(
                    "write::commit::tests::batches_wait_outside_when_the_queue_holds_its_part_of_the_budget"
                )],
            },
            Fault {
                name: "wide_merge_takes_all_memory",
                tests: &[unit!(
                    "tree::compaction::run::tests::a_merge_of_many_runs_divides_its_share_of_the_memory_among_them"
                )],
            },
        ],
    ),
    one!(
        "snapshot_garbage_stays",
        unit!(
            "background::compact::tests::what_was_kept_for_a_snapshot_goes_with_the_next_compaction_by_hand"
        ),
        unit!(
            "background::schedule::quiet::tests::what_was_overwritten_under_a_snapshot_goes_with_it_though_nobody_writes"
        )
    ),
    one!(
        "quiet_database_keeps_garbage",
        unit!("background::schedule::quiet::tests::what_expires_goes_though_nobody_writes"),
        unit!("background::schedule::quiet::tests::what_was_deleted_goes_though_nobody_writes")
    ),
    planted(
        "one_long_life_keeps_expired",
        &[
            Fault {
                name: "one_long_life_keeps_expired",
                tests: &[
                    unit!(
                        "background::schedule::quiet::tests::what_expires_goes_though_each_table_has_a_value_that_lives_for_a_year"
                    ),
                    unit!(
                        "tree::compaction::policy_tests::a_table_is_rewritten_once_enough_of_it_has_expired_and_dropped_once_all_has"
                    ),
                ],
            },
            Fault {
                name: "partly_expired_table_dropped",
                tests: &[unit!(
                    "tree::compaction::policy_tests::a_table_is_rewritten_once_enough_of_it_has_expired_and_dropped_once_all_has"
                )],
            },
        ],
    ),
    one!(
        "idle_keyspaces_pin_logs",
        unit!("background::many_keyspaces_tests::idle_keyspaces_pin_logs")
    ),
    planted(
        "compaction_takes_the_disk",
        &[
            Fault {
                name: "compaction_takes_the_disk",
                tests: &[unit!(
                    "background::compact::tests::a_compaction_that_nobody_waits_for_leaves_the_disk_to_readers_and_ends_all_the_same"
                )],
            },
            Fault {
                name: "readers_hold_up_a_tree_that_is_behind",
                tests: &[unit!(
                    "background::compact::tests::a_compaction_is_held_up_by_no_one_where_writers_or_callers_wait_or_nobody_reads"
                )],
            },
        ],
    ),
    one!(
        "price_of_before_the_sleep",
        unit!("control::pacing::tests::a_long_group_pays_less_as_soon_as_a_flush_has_ended")
    ),
    // Remote.
    planted(
        "two_openers_at_once",
        &[
            bucket_fault("two_openers_at_once", &[bucket!("simulation", "two_openers_at_once")]),
            bucket_fault(
                "opening_is_not_confirmed",
                &[bucket!("chain", "an_opener_that_slept_after_its_raise_serves_nothing")],
            ),
        ],
    ),
    planted(
        "fence_below_the_replay_point",
        &[bucket_fault(
            "fence_below_the_replay_point",
            &[bucket!("simulation", "fence_below_the_replay_point")],
        )],
    ),
    planted(
        "third_writer_between_probe_and_fence",
        &[
            bucket_fault(
                "third_writer_between_probe_and_fence",
                &[bucket!("simulation", "third_writer_between_probe_and_fence")],
            ),
            bucket_fault(
                "only_the_last_epoch_is_closed",
                &[bucket!("simulation", "third_writer_between_probe_and_fence")],
            ),
        ],
    ),
    planted(
        "manifest_name_free_again_after_collection",
        &[bucket_fault(
            "manifest_name_free_again_after_collection",
            &[bucket!("registers", "manifest_name_free_again_after_collection")],
        )],
    ),
    planted(
        "uploaded_table_collected_before_published",
        &[bucket_fault(
            "uploaded_table_collected_before_published",
            &[
                bucket!("simulation", "uploaded_table_collected_before_published"),
                bucket!(
                    "lib",
                    "collection::tests::uploads_of_the_present_epoch_are_left_to_their_owner"
                ),
            ],
        )],
    ),
    planted(
        "fenced_writer_acks_after_gc",
        &[
            bucket_fault(
                "fenced_writer_acks_after_gc",
                &[
                    bucket!("simulation", "fenced_writer_acks_after_gc"),
                    bucket!("lib", "collection::tests::no_fence_is_ever_garbage"),
                ],
            ),
            bucket_fault(
                "chunks_acknowledged_as_they_come",
                &[bucket!("simulation", "fenced_writer_acks_after_gc")],
            ),
            bucket_fault(
                "a_taken_place_counts_as_ones_own",
                &[bucket!("simulation", "fenced_writer_acks_after_gc")],
            ),
            bucket_fault(
                "a_lost_answer_counts_as_stored",
                &[bucket!(
                    "simulation",
                    "answers_that_are_lost_late_and_doubled_lose_no_acknowledged_write"
                )],
            ),
            bucket_fault(
                "edit_sent_again_without_looking",
                &[bucket!("simulation", "two_openers_at_once")],
            ),
        ],
    ),
    planted(
        "openings_fill_the_manifest",
        &[
            bucket_fault(
                "openings_are_all_listed",
                &[bucket!(
                    "chain",
                    "the_list_of_epochs_is_bounded_whatever_they_hold_and_nothing_that_counts_is_lost"
                )],
            ),
            bucket_fault(
                "replay_moves_over_chunks",
                &[
                    bucket!("simulation", "two_openers_at_once"),
                    bucket!(
                        "chain",
                        "the_list_of_epochs_is_bounded_whatever_they_hold_and_nothing_that_counts_is_lost"
                    ),
                ],
            ),
            bucket_fault(
                "fences_of_unlisted_epochs_collected",
                &[
                    bucket!("lib", "collection::tests::no_fence_is_ever_garbage"),
                    bucket!("simulation", "fenced_writer_acks_after_gc"),
                ],
            ),
        ],
    ),
    planted(
        "gc_deletes_live_table",
        &[bucket_fault(
            "gc_deletes_live_table",
            &[bucket!("lib", "collection::tests::gc_deletes_live_table")],
        )],
    ),
    planted(
        "store_ignores_preconditions",
        &[bucket_fault(
            "store_ignores_preconditions",
            &[bucket!("store", "store_ignores_preconditions")],
        )],
    ),
    planted(
        "conflict_409_taken_for_failure",
        &[bucket_fault(
            "conflict_409_taken_for_failure",
            &[bucket!("lib", "store::adapter::tests::conflict_409_taken_for_failure")],
        )],
    ),
    planted(
        "etag_unquoted",
        &[bucket_fault("etag_unquoted", &[bucket!("store", "etag_unquoted")])],
    ),
    planted(
        "list_unordered",
        &[bucket_fault("list_unordered", &[bucket!("store", "list_unordered")])],
    ),
    planted(
        "put_retried_after_timeout",
        &[
            bucket_fault(
                "put_retried_after_timeout",
                &[bucket!("store", "put_retried_after_timeout")],
            ),
            bucket_fault(
                "own_first_try_taken_for_another",
                &[bucket!("registers", "a_swap_that_meets_its_own_first_try_has_won")],
            ),
        ],
    ),
    comes("compaction_source_gone", JOBS),
    comes("lag_grows_unseen", REMOTE),
    comes("cold_reads_in_sequence", TIER),
    comes("polling_costs_money", REMOTE),
    // Server.
    comes("aof_tail_never_synced", REDIS),
    served("shutdown_without_flush", "lifecycle", "what_was_acknowledged_survives_a_stop"),
    comes("unauthenticated_memory", ACCESS),
    comes("glob_backtracking", REDIS),
    served(
        "declared_length_allocates",
        "bad_input",
        "a_declared_length_takes_no_memory_and_an_endless_body_is_cut",
    ),
    served("slow_reader_fills_memory", "bad_input", "a_reader_that_takes_nothing_is_cut_off"),
    served("slowloris", "bad_input", "slow_clients_are_cut_off"),
    comes("pipeline_flood", REDIS),
    served(
        "server_memory_outside_the_budget",
        "memory",
        "many_large_bodies_are_done_or_refused_within_their_part_of_the_budget",
    ),
    served(
        "group_refused_together",
        "lib",
        "committer::tests::no_request_is_refused_for_its_neighbours",
    ),
    served(
        "stream_in_its_own_way",
        "memory",
        "a_stream_of_large_values_waits_for_its_own_last_chunk_and_breaks_off_nowhere",
    ),
    served("cross_protocol", "bad_input", "cross_protocol_and_smuggling_find_nothing_to_hold"),
    comes("acl_leaks_existence", ACCESS),
    served("path_traversal_backup", "checkpoints", "path_traversal_backup"),
    comes("endpoint_ssrf", REMOTE),
    // Commit groups whose members differ, and keys that are easily taken for one another.
    one!(
        "group_synced_as_its_leader",
        unit!("write::commit::groups::groups_of_members_that_differ_keep_what_each_was_promised"),
        unit!("write::commit::groups::every_small_group_keeps_what_each_member_was_promised")
    ),
    one!(
        "group_counted_as_its_leader",
        unit!("write::commit::groups::every_small_group_keeps_what_each_member_was_promised")
    ),
    one!(
        "group_answered_alike",
        unit!("write::commit::groups::every_small_group_keeps_what_each_member_was_promised")
    ),
    one!(
        "group_in_one_keyspace",
        unit!("write::commit::groups::every_small_group_keeps_what_each_member_was_promised")
    ),
    one!(
        "group_shown_as_its_leader",
        unit!("write::commit::groups::every_small_group_keeps_what_each_member_was_promised")
    ),
    one!(
        "long_batch_in_two_records",
        unit!("write::commit::groups::members_as_large_as_a_group_are_whole_or_absent")
    ),
    // Conditions of batches.
    planted(
        "compare_and_set_loses_updates",
        &[
            Fault {
                name: "conditions_asked_before_the_queue",
                tests: &[
                    Test {
                        room: "engine",
                        target: "conditions",
                        name: "four_threads_of_a_thousand_increments_are_four_thousand",
                    },
                    unit!(
                        "write::commit::groups::conditions::every_small_group_with_a_condition_is_decided_member_by_member"
                    ),
                ],
            },
            Fault {
                name: "conditions_ignore_earlier_members",
                tests: &[
                    unit!(
                        "write::commit::groups::conditions::members_with_conditions_are_decided_one_by_one_behind_those_before_them"
                    ),
                    unit!(
                        "write::commit::groups::conditions::every_small_group_with_a_condition_is_decided_member_by_member"
                    ),
                    Test {
                        room: "server",
                        target: "lib",
                        name: "committer::tests::of_many_that_want_the_key_absent_exactly_one_wins",
                    },
                ],
            },
            Fault {
                name: "conditions_see_what_expired",
                tests: &[
                    Test {
                        room: "engine",
                        target: "conditions",
                        name: "what_has_expired_is_absent_for_conditions",
                    },
                    Test {
                        room: "sim",
                        target: "model",
                        name: "every_answer_is_the_oracles_through_flushes_compactions_kills_and_power_cuts",
                    },
                ],
            },
        ],
    ),
    one!(
        "refused_batch_half_written",
        unit!(
            "write::commit::groups::conditions::every_small_group_with_a_condition_is_decided_member_by_member"
        ),
        Test {
            room: "engine",
            target: "conditions",
            name: "batches_handed_in_together_are_answered_one_by_one",
        }
    ),
    one!(
        "group_refused_as_its_leader",
        unit!(
            "write::commit::groups::conditions::every_small_group_with_a_condition_is_decided_member_by_member"
        ),
        Test {
            room: "engine",
            target: "conditions",
            name: "batches_handed_in_together_are_answered_one_by_one",
        }
    ),
    one!(
        "memtable_heads_taken_for_keys",
        unit!("memtable::tests::keys_that_only_zeros_or_late_bytes_tell_apart_are_different_keys"),
        unit!("memtable::tests::whatever_is_inserted_is_read_as_a_sorted_map_reads_it")
    ),
    one!(
        "merge_heads_taken_for_keys",
        unit!("tree::merge::tests::a_merge_walks_like_one_sorted_vector")
    ),
    one!(
        "sixteen_bytes_taken_for_keys",
        unit!(
            "read::row_cache::tests::keys_that_are_easily_taken_for_one_another_have_rows_of_their_own"
        )
    ),
    one!(
        "fence_one_byte_short",
        Test {
            room: "table",
            target: "lib",
            name: "index::fences::tests::drawn_fences_lie_between_their_neighbours_and_part_them"
        },
        Test {
            room: "table",
            target: "model",
            name: "a_table_answers_as_the_sorted_list_of_its_entries_does"
        }
    ),
    one!(
        "fence_heads_taken_for_keys",
        Test {
            room: "table",
            target: "lib",
            name: "index::fences::tests::drawn_fences_lie_between_their_neighbours_and_part_them"
        },
        Test {
            room: "table",
            target: "model",
            name: "a_table_answers_as_the_sorted_list_of_its_entries_does"
        }
    ),
    one!(
        "block_heads_taken_for_keys",
        Test {
            room: "table",
            target: "lib",
            name: "data::data_block::tests::drawn_keys_that_are_easily_taken_for_one_another_are_told_apart"
        },
        Test {
            room: "table",
            target: "model",
            name: "a_table_answers_as_the_sorted_list_of_its_entries_does"
        }
    ),
];

/// All faults that can be put back, in the order of the list.
pub(crate) fn faults() -> impl Iterator<Item = &'static Fault> {
    SCENARIOS.iter().flat_map(|scenario| match scenario.state {
        State::Planted(faults) => faults,
        State::Comes(_) | State::Elsewhere(_) => &[],
    })
}

/// Tests that know of no single fault: what is found by chance.
pub(crate) const SIMULATION: &[Test] = &[
    simulated!(
        "model",
        "every_answer_is_the_oracles_through_flushes_compactions_kills_and_power_cuts"
    ),
    simulated!("model", "every_answer_is_the_oracles_when_few_keys_have_many_versions"),
    simulated!("model", "every_answer_is_the_oracles_when_memtables_fill_by_themselves"),
    simulated!("failures", "failed_syncs_lose_nothing_that_was_acknowledged"),
    simulated!("failures", "failed_writes_lose_nothing_that_was_acknowledged"),
    simulated!("failures", "failed_changes_of_names_lose_nothing_that_was_acknowledged"),
    simulated!("failures", "failed_reads_are_errors_and_never_other_answers"),
    simulated!(
        "crashes",
        "whatever_call_the_power_fails_at_a_prefix_with_all_that_was_promised_is_left"
    ),
    DIFFERENTIAL,
];
