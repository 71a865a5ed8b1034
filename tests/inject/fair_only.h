/* SPDX-License-Identifier: MIT */
/*
 * Tests that a kind of weather leaves out, for they take for granted what it takes away:
 *   DROPS  what one call moves, or that two thousand bytes are soon out or in
 *   FOG    that a call which does not wait does what it can, or that a thread which waits sleeps
 *   STORM  that nothing wakes who rests
 */
#ifndef TESTS_INJECT_FAIR_ONLY_H
#define TESTS_INJECT_FAIR_ONLY_H

#include "weather.h"

static const struct {
    const char *test;
    unsigned without;
} fair_only[] = {
    /* test_abort */
    {"promise_7_abort_wakes_every_call", 1U << FOG},
    {"promise_7_abort_wakes_all_at_once", 1U << FOG},
    {"close_ends_the_calls_of_others", 1U << FOG},
    /* test_calls */
    {"a_message_is_one_write", 1U << DROPS | 1U << FOG},
    {"many_small_messages_are_one_read", 1U << DROPS},
    {"large_messages_are_one_read_each", 1U << DROPS},
    {"a_message_that_is_waited_for_is_one_read", 1U << DROPS | 1U << STORM | 1U << FOG},
    {"promise_9_without_linger_who_waits_polls", 1U << DROPS | 1U << FOG | 1U << STORM},
    {"what_was_attached_nonblocking_stays_so", 1U << DROPS | 1U << FOG | 1U << STORM},
    {"what_others_send_meanwhile_is_gathered", 1U << DROPS},
    {"dontwait_never_polls", 1U << FOG},
    /* test_classics */
    {"promise_4_over_the_limit_no_memory_is_asked_for", 1U << DROPS | 1U << FOG},
    /* test_client */
    {"promise_2_no_memory_for_a_header_spoils_nothing", 1U << FOG},
    /* test_close */
    {"promise_9_no_linger_does_not_wait", 1U << DROPS},
    {"promise_9_a_flood_does_not_kill_a_large_reply", 1U << FOG},
    {"promise_9_unix_sockets", 1U << FOG},
    /* test_conn */
    {"info_counts_messages_without_prefixes", 1U << DROPS | 1U << FOG},
    {"timeouts_change_for_later_calls", 1U << DROPS | 1U << FOG},
    /* test_conn_out */
    {"a_sender_is_let_go", 1U << DROPS},
    /* test_descriptors */
    {"promise_12_a_loop_out_of_descriptors_rests_and_its_connections_go_on", 1U << STORM},
    {"promise_12_an_accept_out_of_descriptors_rests_and_others_go_on", 1U << STORM},
    {"promise_12_a_loop_rests_whatever_an_accept_lacks", 1U << STORM},
    {"promise_12_an_accept_rests_whatever_it_lacks", 1U << STORM},
    /* test_end */
    {"promise_3_user_timeout_is_a_stall", 1U << FOG},
    /* test_events */
    {"promise_13_pollout_only_while_bytes_wait", 1U << DROPS | 1U << FOG},
    {"promise_13_next_length_tells_what_is_already_read", 1U << DROPS | 1U << FOG},
    /* test_faults */
    {"promise_1_one_byte_at_a_time", 1U << DROPS},
    /* test_last_words */
    {"promise_9_closes_that_wait_lose_no_reply", 1U << FOG},
    {"promise_9_a_peer_of_ours_that_sends_on_has_the_reply", 1U << FOG},
    {"an_answer_of_0_means_that_the_reply_has_arrived", 1U << FOG},
    /* test_limit */
    {"promise_4_memory_follows_what_arrived", 1U << DROPS | 1U << FOG},
    {"promise_4_refused_at_the_prefix", 1U << FOG},
    /* test_log */
    {"last_words_that_nobody_took_are_a_warning", 1U << FOG},
    /* test_loop_accept */
    {"max_conns_is_the_most_there_are", 1U << STORM | 1U << DROPS | 1U << FOG},
    {"promise_12_out_of_descriptors_it_rests_and_goes_on", 1U << STORM},
    /* test_loop_calls */
    {"what_a_pass_brings_to_one_leaves_in_one_write", 1U << DROPS | 1U << FOG},
    {"what_one_read_brings_is_answered_in_one_write", 1U << DROPS},
    {"sends_of_another_thread_wake_the_loop_once", 1U << DROPS},
    {"a_long_answer_is_one_write_at_once", 1U << DROPS | 1U << FOG},
    {"long_answers_to_one_read_leave_in_full_segments", 1U << DROPS | 1U << FOG},
    /* test_loop_ends */
    {"promise_9_close_keeps_the_last_reply", 1U << FOG},
    /* test_loop_fair */
    {"a_flood_does_not_keep_the_others_waiting", 1U << FOG},
    {"two_that_chatter_without_end_harm_nobody", 1U << DROPS | 1U << FOG},
    /* test_loop_hold */
    {"a_call_that_began_before_the_loop_had_it_does_not_wait", 1U << FOG},
    /* test_loop_last */
    {"who_had_sent_in_time_is_not_idle", 1U << FOG},
    /* test_loop_pause */
    {"an_end_that_waits_costs_no_cpu", 1U << STORM},
    /* test_loop_pressure */
    {"a_peer_that_does_not_read_harms_nobody", 1U << DROPS | 1U << STORM},
    /* test_loop_shortage */
    {"a_loop_that_runs", 1U << DROPS},
    /* test_loop_silent */
    {"thousands_of_silent_connections", 1U << DROPS | 1U << STORM},
    /* test_loop_spin */
    {"a_starved_one_rests", 1U << STORM},
    {"who_half_closes_and_never_reads_is_stalled", 1U << DROPS | 1U << STORM},
    {"a_starved_one_that_is_reset_ends", 1U << DROPS | 1U << FOG | 1U << STORM},
    {"an_end_that_lingers_rests", 1U << FOG | 1U << STORM | 1U << DROPS},
    {"a_listener_that_was_shut_down_rests", 1U << STORM},
    {"a_full_listener_that_was_shut_down_rests", 1U << STORM},
    /* test_loop_standstill */
    {"who_has_sent_a_large_message_holds_nothing_of_it", 1U << DROPS | 1U << FOG},
    {"a_new_send_timeout_is_for_output_that_waits_already", 1U << DROPS},
    /* test_more */
    {"promise_8_flush_releases", 1U << DROPS},
    {"prefix_and_payload_leave_in_one_segment", 1U << DROPS},
    {"a_large_messages_last_bytes_are_held_back", 1U << DROPS},
    {"a_message_of_full_segments_leaves_at_once", 1U << DROPS},
    {"promise_8_dontwait_receive_releases", 1U << DROPS | 1U << FOG},
    {"promise_8_receive_of_a_part_releases", 1U << DROPS | 1U << FOG},
    {"promise_8_an_early_end_is_finished_later", 1U << FOG},
    /* test_mutex */
    {"a_wait_sleeps_until_its_deadline", 1U << STORM},
    /* test_nomem */
    {"promise_1_no_memory_for_good", 1U << DROPS | 1U << FOG},
    {"promise_1_no_memory_once", 1U << DROPS | 1U << FOG},
    /* test_recv */
    {"every_framing_byte_by_byte_in_every_way", 1U << FOG},
    {"a_view_is_good_until_the_next_receive", 1U << FOG},
    /* test_send */
    {"promise_1_any_count_of_parts_is_one_message", 1U << DROPS | 1U << FOG},
    {"promise_1_first_part_out_is_accepted", 1U << FOG},
    /* test_serve */
    {"promise_8_a_waiting_receive_takes_over", 1U << FOG},
    /* test_shortage_conn */
    {"promise_1_sends", 1U << DROPS},
    {"promise_2_receives", 1U << DROPS},
    /* test_socket */
    {"a_read_and_a_write_move_bytes_in_one_part_or_more", 1U << DROPS | 1U << FOG},
    {"an_interrupted_call_goes_on", 1U << DROPS | 1U << FOG},
    {"what_the_peer_has_not_acknowledged", 1U << DROPS},
    {"no_descriptor_is_EBADF", 1U << FOG},
    {"promise_10_a_write_to_who_has_left_raises_no_signal", 1U << FOG},
    {"discarding_drops_what_is_there", 1U << FOG},
    {"a_wait_that_fails_takes_a_moment", 1U << STORM},
    /* test_split */
    {"promise_2_timeout_at_every_offset", 1U << DROPS | 1U << FOG},
    {"promise_2_old_buffers_are_never_touched", 1U << DROPS},
    /* test_tcp */
    {"close_does_not_wait_for_a_peer_that_has_reset", 1U << DROPS},
    {"close_with_unread_input_makes_no_reset", 1U << FOG},
    /* test_turns */
    {"promise_1_what_was_sent_beside_waiting_senders_goes_out", 1U << DROPS},
    {"promise_1_an_abort_takes_back_no_message_that_is_out", 1U << DROPS},
    {"promise_1_a_flush_without_memory_keeps_the_connection", 1U << DROPS},
    {"promise_1_an_abort_during_the_last_write_is_told", 1U << FOG},
    /* test_turns_end */
    {"promise_9_an_abort_during_a_close_is_told", 1U << FOG},
    /* test_turns_late */
    {"promise_7_a_shutdown_ends_when_another_thread_has_closed", 1U << DROPS},
    {"promise_7_a_flush_ends_when_another_thread_has_closed", 1U << FOG},
    /* test_vectors */
    {"a_connection_receives_each_stream_byte_by_byte", 1U << FOG},
    /* test_wall_clock */
    {"limits_of_calls_that_wait", 1U << FOG},
    {"limits_of_an_old_clock", 1U << FOG},
    {"limits_of_calls_that_wait_for_their_turn", 1U << STORM},
    {"a_leap_of_the_clock_makes_all_due_once_and_no_storm", 1U << STORM},
    {"a_process_that_was_stopped_has_no_storm", 1U << STORM},
    /* test_why */
    {"promise_5_other_protocols_are_named", 1U << DROPS},
    {"promise_5_they_are_named_under_other_framings", 1U << DROPS},
    /* test_loop_budget */
    {"promise_4_a_crowd_of_claims_costs_next_to_nothing", 1U << DROPS},
    /* test_model_loop */
    {"a_new_loop_goes_as_the_model_says", 1U << DROPS | 1U << FOG},
    {"a_fixed_loop_goes_as_the_model_says", 1U << DROPS | 1U << FOG},
    /* test_rare_conn */
    {"an_abort_inside_of_a_read_is_told_as_one", 1U << FOG},
    {"a_shutdown_refuses_who_waits_to_hold_back", 1U << FOG},
    {"what_was_queued_leaves_piece_by_piece", 1U << DROPS},
    {"a_full_segment_takes_along_what_was_queued_meanwhile", 1U << DROPS},
    {"what_fits_by_then_is_held_back_though_the_socket_is_full", 1U << DROPS | 1U << FOG},
    {"next_length_tells_of_a_prefix_that_is_none", 1U << DROPS},
    /* test_rare_fork */
    {"a_shutdown_that_meets_the_end_tells_it", 1U << DROPS},
    /* test_loop_turns */
    {"an_abort_of_what_only_answers_still", 1U << FOG},
    {"an_end_that_lingers_meets_what_the_peer_does", 1U << FOG},
    {"a_clock_that_runs_out_behind_a_read", 1U << DROPS},
    /* test_rare_socket */
    {"a_shortage_of_memory_is_no_end_of_the_input", 1U << FOG},
};

#endif
