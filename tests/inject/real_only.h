/* SPDX-License-Identifier: MIT */
/*
 * Tests that TESTS_EMULATED of the environment leaves out, for qemu-user 7.2 takes away what they
 * look at:
 *   TCP_INFO  of which it answers four bytes, on a big-endian machine the wrong way round
 *   scope id  of IPv6, which comes back the wrong way round on a big-endian machine
 *   execve    of a program of that machine, which this machine's kernel does not know
 *   resident  memory, most of which is the emulator's own
 */
#ifndef TESTS_INJECT_REAL_ONLY_H
#define TESTS_INJECT_REAL_ONLY_H

#include <stdbool.h>

static const struct {
    const char *test;
    bool big_endian; /* left out there alone */
} real_only[] = {
    /* TCP_INFO: what is there beside the state */
    {"prefix_and_payload_leave_in_one_segment", false},
    {"what_the_peer_has_not_acknowledged", false},
    /* TCP_INFO: the state */
    {"a_tcp_that_tells_nothing_known_has_no_state", true},
    {"info_keeps_to_the_callers_size", true},
    {"info_names_the_state_as_the_rfc_does", true},
    /* the same: test_tcp */
    {"a_server_listens_again_while_its_port_is_in_TIME_WAIT", true},
    {"abort_after_shutdown_is_a_reset_for_the_sending_of_the_peer", true},
    {"abort_makes_CLOSED_on_both_sides_at_once", true},
    {"close_with_unread_input_makes_no_reset", true},
    {"dial_and_accept_make_ESTABLISHED", true},
    {"dial_is_in_SYN_SENT_until_it_is_answered", true},
    {"listen_makes_LISTEN", true},
    {"shutdown_makes_FIN_WAIT_1_while_bytes_are_not_acknowledged", true},
    {"shutdown_makes_FIN_WAIT_2_and_CLOSE_WAIT", true},
    {"the_other_direction_of_a_half_closed_connection_still_flows", true},
    {"the_peer_of_a_dial_is_in_SYN_RECEIVED_until_our_ACK_counts", true},
    {"the_second_shutdown_makes_LAST_ACK_and_then_CLOSED", true},
    {"the_side_that_closes_first_holds_TIME_WAIT", true},
    {"two_shutdowns_that_cross_make_CLOSING", true},
    /* scope id */
    {"a_link_local_address_is_printed_with_its_interface", true},
    /* execve */
    {"promise_10_a_program_that_is_started_holds_nothing_of_ours", false},
    {"promise_10_what_is_handed_over_is_closed_too", false},
    /* resident */
    {"a_server_that_only_answers_never_meets_eagain", false},
};

#endif
