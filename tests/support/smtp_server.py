"""A mail server on the loopback address, for the tests.

Its one argument is a JSON object:
    tls       "none", "starttls" or "tls"
    cert, key files of the certificate and its key
    user, password  the login that it demands; without them it takes any mail
    busy      how many RCPT commands it puts off before it takes any
It prints its port, and then each mail as a line of JSON. Recipients whose name
is "gone" are refused. It ends when its stdin does.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

settings = json.loads(sys.argv[1])


def say(value):
    print(json.dumps(value), flush=True)


class Handler:
    busy = settings.get("busy", 0)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if Handler.busy > 0:
            Handler.busy -= 1
            return "451 4.7.1 try again later"
        if address.startswith("gone@"):
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        transport = server.transport
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "hello": session.host_name,
            "encrypted": transport.get_extra_info("ssl_object") is not None,
            "login": getattr(session, "login", None),
            "content": envelope.content.decode("utf-8"),
        })
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    given = (data.login.decode(), data.password.decode())
    good = given == (settings.get("user"), settings.get("password"))
    if good:
        session.login = given[0]
    return AuthResult(success=good, handled=False)


def protocol():
    demands = "user" in settings
    return SMTP(
        Handler(),
        hostname="mail.test",
        tls_context=context if settings["tls"] == "starttls" else None,
        require_starttls=settings["tls"] == "starttls",
        authenticator=authenticate if demands else None,
        auth_required=demands,
        auth_require_tls=settings["tls"] == "starttls",
    )


context = None
if settings["tls"] != "none":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings["cert"], settings["key"])


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        protocol, "127.0.0.1", 0, ssl=context if settings["tls"] == "tls" else None
    )
    say(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
