// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* cvmm-drive list: the table of messages, as text, JSON or Markdown. */
#include <stdbool.h>
#include <string.h>

#include <cvmm/vhost-user.h>

#include "drive.h"

/* What one channel is called, and how many requests it has. */
struct channel {
	enum cvmm_vhost_user_channel channel;
	const char *key;
	const char *title;
	uint32_t last;
};

static const struct channel channels[] = {
	{ CVMM_VHOST_USER_FRONTEND_CHANNEL, "frontend_requests", "Requests of the front-end",
	  CVMM_VHOST_USER_FRONTEND_REQUEST_MAX },
	{ CVMM_VHOST_USER_BACKEND_CHANNEL, "backend_requests", "Requests of the back-end",
	  CVMM_VHOST_USER_BACKEND_REQUEST_MAX },
};

#define GATE_MAX 256

/* The protocol features of a mask, with commas between them. */
static const char *gate_text(uint64_t gate, char text[GATE_MAX])
{
	size_t len = 0;

	text[0] = '\0';
	for (unsigned int bit = 0; bit < 64; bit++) {
		const char *name = cvmm_vhost_user_protocol_feature_name(bit);

		if (gate >> bit & 1 && name && len < GATE_MAX)
			len += (size_t)snprintf(text + len, GATE_MAX - len, "%s%s", len ? "," : "",
						name);
	}
	return text;
}

/* What the answer has; a request that is answered on demand only has no other than a u64. */
static const char *reply_text(const struct cvmm_vhost_user_message *row)
{
	return cvmm_vhost_user_payload_name(row->reply_payload);
}

static void for_each_row(const struct channel *c,
			 void (*print)(const struct cvmm_vhost_user_message *row, const char *gate,
				       bool first))
{
	bool first = true;

	for (uint32_t id = 0; id <= c->last; id++) {
		const struct cvmm_vhost_user_message *row =
			cvmm_vhost_user_message_find(c->channel, id);
		char gate[GATE_MAX];

		if (!row)
			continue;
		print(row, gate_text(row->gate, gate), first);
		first = false;
	}
}

/* ---- text -------------------------------------------------------------------------------------- */

static void print_text_row(const struct cvmm_vhost_user_message *row, const char *gate, bool first)
{
	(void)first;
	printf("%3u  %-32s %-25s %-20s %-20s %-31s %-22s %s\n", row->id, row->name,
	       *gate ? gate : "-", cvmm_vhost_user_payload_name(row->payload),
	       cvmm_vhost_user_fd_rule_name(row->fds), cvmm_vhost_user_reply_rule_name(row->reply),
	       reply_text(row), cvmm_vhost_user_fd_rule_name(row->reply_fds));
}

static void print_text(void)
{
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(channels); i++) {
		printf("%s%s\n", i ? "\n" : "", channels[i].title);
		printf(" id  %-32s %-25s %-20s %-20s %-31s %-22s %s\n", "name", "gate", "payload",
		       "descriptors", "answered", "answer", "its descriptors");
		for_each_row(&channels[i], print_text_row);
	}
	printf("\nProtocol features\n");
	for (unsigned int bit = 0; bit < 64; bit++)
		if (cvmm_vhost_user_protocol_feature_name(bit))
			printf("%3u  %s\n", bit, cvmm_vhost_user_protocol_feature_name(bit));
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void print_member(const char *name, const char *value)
{
	printf(", \"%s\": ", name);
	drive_print_json_string(stdout, value);
}

static void print_json_row(const struct cvmm_vhost_user_message *row, const char *gate, bool first)
{
	printf("%s\n    {\"id\": %u", first ? "" : ",", row->id);
	print_member("name", row->name);
	print_member("gate", gate);
	print_member("payload", cvmm_vhost_user_payload_name(row->payload));
	print_member("fds", cvmm_vhost_user_fd_rule_name(row->fds));
	print_member("reply", cvmm_vhost_user_reply_rule_name(row->reply));
	print_member("reply_payload", reply_text(row));
	print_member("reply_fds", cvmm_vhost_user_fd_rule_name(row->reply_fds));
	putchar('}');
}

static void print_json(void)
{
	bool first = true;

	putchar('{');
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(channels); i++) {
		printf("\n  \"%s\": [", channels[i].key);
		for_each_row(&channels[i], print_json_row);
		printf("\n  ],");
	}
	printf("\n  \"protocol_features\": [");
	for (unsigned int bit = 0; bit < 64; bit++) {
		const char *name = cvmm_vhost_user_protocol_feature_name(bit);

		if (!name)
			continue;
		printf("%s\n    {\"bit\": %u, \"name\": \"%s\"}", first ? "" : ",", bit, name);
		first = false;
	}
	printf("\n  ]\n}\n");
}

/* ---- Markdown ---------------------------------------------------------------------------------- */

static void print_markdown_row(const struct cvmm_vhost_user_message *row, const char *gate,
			       bool first)
{
	(void)first;
	printf("| %u | `%s` | %s%s%s | %s | %s | %s | %s | %s |\n", row->id, row->name,
	       *gate ? "`" : "", gate, *gate ? "`" : "", cvmm_vhost_user_payload_name(row->payload),
	       cvmm_vhost_user_fd_rule_name(row->fds), cvmm_vhost_user_reply_rule_name(row->reply),
	       reply_text(row), cvmm_vhost_user_fd_rule_name(row->reply_fds));
}

static void print_markdown(void)
{
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(channels); i++) {
		printf("## %s\n\n", channels[i].title);
		printf("| id | name | gate | payload | descriptors | answered | answer | its "
		       "descriptors |\n|---|---|---|---|---|---|---|---|\n");
		for_each_row(&channels[i], print_markdown_row);
		putchar('\n');
	}
	printf("## Protocol features\n\n| bit | name |\n|---|---|\n");
	for (unsigned int bit = 0; bit < 64; bit++)
		if (cvmm_vhost_user_protocol_feature_name(bit))
			printf("| %u | `%s` |\n", bit, cvmm_vhost_user_protocol_feature_name(bit));
}

/* ---- the command ------------------------------------------------------------------------------- */

static int list_main(char **args)
{
	void (*print)(void) = print_text;

	for (; *args; args++) {
		if (strcmp(*args, "--json") == 0)
			print = print_json;
		else if (strcmp(*args, "--markdown") == 0)
			print = print_markdown;
		else
			return drive_usage(&drive_list, "unknown argument %s", *args);
	}
	print();
	return fflush(stdout) || ferror(stdout) ? DRIVE_USAGE : DRIVE_OK;
}

const struct drive_command drive_list = {
	.name = "list",
	.summary = "print the table of messages",
	.help = "usage: cvmm-drive list [--json | --markdown]\n"
		"\n"
		"Prints every request of vhost-user: its number and name, the protocol features that\n"
		"it needs, its payload and descriptors, and when and how it is answered.\n"
		"\n"
		"  --json      as JSON\n"
		"  --markdown  as the tables of docs/vhost-user.md\n",
	.run = list_main,
};
