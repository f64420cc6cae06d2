// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Names of feature bits. Spec: VIRTIO 1.3, 5 (those of devices) and 6.
 */
#include <string.h>

#include <cvmm/base.h>

#include "feature_names.h"

struct feature {
	unsigned int bit;
	const char *name;
};

#define DEVICE_BITS 24U /* below this, and from 50 on, bits are the device's */
#define DEVICE_BITS_HIGH 50U

static const struct feature common[] = {
	{ 24, "NOTIFY_ON_EMPTY" },
	{ 26, "LOG_ALL" },
	{ 27, "ANY_LAYOUT" },
	{ 28, "INDIRECT_DESC" },
	{ 29, "EVENT_IDX" },
	{ 30, "PROTOCOL_FEATURES" },
	{ 32, "VERSION_1" },
	{ 33, "ACCESS_PLATFORM" },
	{ 34, "RING_PACKED" },
	{ 35, "IN_ORDER" },
	{ 36, "ORDER_PLATFORM" },
	{ 37, "SR_IOV" },
	{ 38, "NOTIFICATION_DATA" },
	{ 39, "NOTIF_CONFIG_DATA" },
	{ 40, "RING_RESET" },
	{ 41, "ADMIN_VQ" },
	{ 0, NULL },
};

static const struct feature net[] = {
	{ 0, "CSUM" },
	{ 1, "GUEST_CSUM" },
	{ 2, "CTRL_GUEST_OFFLOADS" },
	{ 3, "MTU" },
	{ 5, "MAC" },
	{ 6, "GSO" },
	{ 7, "GUEST_TSO4" },
	{ 8, "GUEST_TSO6" },
	{ 9, "GUEST_ECN" },
	{ 10, "GUEST_UFO" },
	{ 11, "HOST_TSO4" },
	{ 12, "HOST_TSO6" },
	{ 13, "HOST_ECN" },
	{ 14, "HOST_UFO" },
	{ 15, "MRG_RXBUF" },
	{ 16, "STATUS" },
	{ 17, "CTRL_VQ" },
	{ 18, "CTRL_RX" },
	{ 19, "CTRL_VLAN" },
	{ 21, "GUEST_ANNOUNCE" },
	{ 22, "MQ" },
	{ 23, "CTRL_MAC_ADDR" },
	{ 52, "VQ_NOTF_COAL" },
	{ 53, "NOTF_COAL" },
	{ 54, "GUEST_USO4" },
	{ 55, "GUEST_USO6" },
	{ 56, "HOST_USO" },
	{ 57, "HASH_REPORT" },
	{ 59, "GUEST_HDRLEN" },
	{ 60, "RSS" },
	{ 61, "RSC_EXT" },
	{ 62, "STANDBY" },
	{ 63, "SPEED_DUPLEX" },
	{ 0, NULL },
};

static const struct feature blk[] = {
	{ 1, "SIZE_MAX" },
	{ 2, "SEG_MAX" },
	{ 4, "GEOMETRY" },
	{ 5, "RO" },
	{ 6, "BLK_SIZE" },
	{ 9, "FLUSH" },
	{ 10, "TOPOLOGY" },
	{ 11, "CONFIG_WCE" },
	{ 12, "MQ" },
	{ 13, "DISCARD" },
	{ 14, "WRITE_ZEROES" },
	{ 15, "LIFETIME" },
	{ 16, "SECURE_ERASE" },
	{ 17, "ZONED" },
	{ 0, NULL },
};

static const struct feature console[] = {
	{ 0, "SIZE" },
	{ 1, "MULTIPORT" },
	{ 2, "EMERG_WRITE" },
	{ 0, NULL },
};

static const struct feature scsi[] = {
	{ 0, "INOUT" }, { 1, "HOTPLUG" }, { 2, "CHANGE" }, { 3, "T10_PI" }, { 0, NULL },
};

static const struct feature gpu[] = {
	{ 0, "VIRGL" },		{ 1, "EDID" },	       { 2, "RESOURCE_UUID" },
	{ 3, "RESOURCE_BLOB" }, { 4, "CONTEXT_INIT" }, { 0, NULL },
};

static const struct feature vsock[] = {
	{ 0, "STREAM" },
	{ 1, "SEQPACKET" },
	{ 2, "NO_IMPLIED_STREAM" },
	{ 0, NULL },
};

static const struct feature fs[] = {
	{ 0, "NOTIFICATION" },
	{ 0, NULL },
};

static const struct feature i2c[] = {
	{ 0, "ZERO_LENGTH_REQUEST" },
	{ 0, NULL },
};

static const struct feature gpio[] = {
	{ 0, "IRQ" },
	{ 0, NULL },
};

static const struct feature none[] = {
	{ 0, NULL },
};

static const struct {
	const char *name;
	const struct feature *features;
} devices[] = {
	{ "blk", blk },	 { "console", console }, { "fs", fs },	    { "gpio", gpio },
	{ "gpu", gpu },	 { "i2c", i2c },	 { "input", none }, { "net", net },
	{ "rng", none }, { "scsi", scsi },	 { "sound", none }, { "vsock", vsock },
};

static const char *find(const struct feature *features, unsigned int bit)
{
	for (const struct feature *f = features; f->name; f++)
		if (f->bit == bit)
			return f->name;
	return NULL;
}

const char *feature_name(const char *device, unsigned int bit)
{
	if (bit >= DEVICE_BITS && bit < DEVICE_BITS_HIGH)
		return find(common, bit);
	for (size_t i = 0; device && i < CVMM_ARRAY_SIZE(devices); i++)
		if (strcmp(device, devices[i].name) == 0)
			return find(devices[i].features, bit);
	return NULL;
}

int feature_knows_device(const char *device)
{
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(devices); i++)
		if (strcmp(device, devices[i].name) == 0)
			return 1;
	return 0;
}
