/* SPDX-License-Identifier: MIT */
#ifndef TCPMSG_H
#define TCPMSG_H

/*
 * libtcpmsg: whole messages over TCP. This one include gives all of it.
 * Unless its own comment says otherwise, a function may be called from any thread.
 */
#include <tcpmsg/conn.h>
#include <tcpmsg/error.h>
#include <tcpmsg/frame.h>
#include <tcpmsg/listener.h>
#include <tcpmsg/loop.h>
#include <tcpmsg/options.h>
#include <tcpmsg/version.h>

#endif
