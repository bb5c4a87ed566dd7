"""The Slack channel: a bot of one workspace, which hears by Socket Mode or the Events API.

What Slack makes impossible: a message whose answer was lost cannot be recognised when it is sent
again, so it stays unknown; bots are not seen typing; nothing quotes, threads stand for that; what a
bot was not there to hear is delivered again for about six minutes, and then has to be read, which
tells of no edits; who has deleted a message is not told; events name nobody but by ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import trio

from ..actors.messages import Address
from .base import (
    ChannelError,
    ChannelPowers,
    Check,
    Deliver,
    Draft,
    Outbound,
    Receipt,
    Rejected,
    Unreachable,
)
from .handover import Handover
from .http_answer import id_told, readable
from .incoming_files import FETCH_S, HOOKED_FETCH_S
from .json_fields import Fields, text
from .secret import Secret
from .slack_api import SlackApi, SlackPlace, SlackRates, bearer_of
from .slack_fields import is_stamp, named, stamp
from .slack_files import FILE_LIMIT_BYTES, Files
from .slack_hearing import Ear
from .slack_hook import SlackHook
from .slack_mark import Mark
from .slack_markup import TEXT_LIMIT, TEXT_UNIT, to_mrkdwn
from .slack_mentions import Mentions
from .slack_missed import Missed
from .slack_probe import checks_of_scopes, may_hear_channels
from .slack_socket import Socket
from .slack_wire import PLATFORM, Me, Reader
from .strangers import Strangers
from .token_channel import TokenChannel

__all__ = ["SlackChannel"]

_DRAFT_EVERY_S: Final = 1.25
"""Seconds between two edits of all drafts together: 50 a minute are allowed."""
_DRAFTED_S: Final = 10.0
"""Seconds for which a conversation counts among those with a draft."""
_INERT: Final[dict[str, Any]] = {"parse": "none", "link_names": False}
"""Names in what the agent says stay text; `chat.update` would link them by default."""


class SlackChannel(TokenChannel):
    """One app in one workspace."""

    platform = PLATFORM
    powers = ChannelPowers(
        text_limit=TEXT_LIMIT,
        text_unit=TEXT_UNIT,
        after_unknown="never",
        files=True,
        file_limit_bytes=FILE_LIMIT_BYTES,
        draft_every_s=_DRAFT_EVERY_S,
    )

    def __init__(  # noqa: PLR0913 - the keys of its section
        self,
        name: str,
        *,
        token: str,
        app_token: str | None = None,
        signing_secret: str | None = None,
        api_url: str = "https://slack.com/api",
        reply_in_thread: bool = True,
        allow_bots: bool = False,
        link_previews: bool = False,
        rates: SlackRates | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            name: instance name.
            token: of the bot, `xoxb-…`.
            app_token: of the app, `xapp-…`: Slack is connected to (Socket Mode).
            signing_secret: of the app: Slack calls, under the `public_url` of `[http]` (Events
                API). Either this or `app_token`.
            api_url: another place of the Web API; plain HTTP on this machine only.
            reply_in_thread: whether what is said in a channel, outside of threads, begins one.
            allow_bots: whether what other bots write is heard.
            link_previews: whether Slack may open the links in what the agent says, to show a
                preview: whoever can put a link there learns what stands in it.
            rates: how fast to write, if not as fast as Slack allows.

        Raises:
            ValueError: a token is none, the URL is, or it is not said how to hear.
        """
        super().__init__(name, Secret.of(token, "token"))
        if not self._token.reveal().startswith("xoxb-"):
            raise ValueError("token is none of a bot: it must begin with xoxb-")
        if (app_token is None) == (signing_secret is None):
            raise ValueError(
                "either app_token (Socket Mode) or signing_secret (Events API) is needed"
            )
        self._app_token = None if app_token is None else Secret.of(app_token, "app_token")
        if self._app_token is not None and not self._app_token.reveal().startswith("xapp-"):
            raise ValueError("app_token is none of an app: it must begin with xapp-")
        self._hook = (
            None
            if signing_secret is None
            else SlackHook(Secret.of(signing_secret, "signing_secret"))
        )
        self._api = SlackApi(SlackPlace(api_url), self._token, rates or SlackRates())
        self._files = Files(self, self._api)
        self._strangers = Strangers(name, self._tell)
        self._reply_in_thread = reply_in_thread
        self._allow_bots = allow_bots
        self._previews = link_previews
        self._drafted: dict[str, float] = {}

    def __repr__(self) -> str:
        way = "Socket Mode" if self._hook is None else "Events API"
        return f"<SlackChannel {self.name}, {way}: {self.line.state}>"

    @property
    def hook(self) -> SlackHook | None:
        """Where Slack calls, if it does."""
        return self._hook

    # -- hearing ---------------------------------------------------------------------------------

    async def run(self, deliver: Deliver) -> None:
        """Hear until cancelled, or until Slack cannot be heard.

        Raises:
            Unreachable: it cannot now.
            Rejected: it refuses: a token is wrong, Socket Mode is switched off.
        """
        failed: ChannelError | None = None
        async with self._api.open():
            me, headers = await self._whoami()
            mark = Mark(self, f"{me.team_id} {me.user_id}")
            ear = self._ear(me, headers, mark, Handover(self, deliver, self._strangers))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mark.store)
                missed = Missed(self.name, self._api, ear, mark, nursery)
                try:
                    await self._hear(ear, missed)
                except (Unreachable, Rejected) as error:
                    failed = error
                nursery.cancel_scope.cancel()  # what is not settled comes again
        if failed is not None:
            raise failed

    def _ear(self, me: Me, headers: Mapping[str, str], mark: Mark, handover: Handover) -> Ear:
        """Who hears, in one run."""
        return Ear(
            self.name,
            Reader(
                self.name,
                me,
                allow_bots=self._allow_bots,
                reply_in_thread=self._reply_in_thread,
            ),
            self._files,
            handover,
            mark,
            Mentions(hopeful=may_hear_channels(headers)),
            fetch_s=FETCH_S if self._hook is None else HOOKED_FETCH_S,
            patient=self._hook is None,
        )

    async def _hear(self, ear: Ear, missed: Missed) -> None:
        """Hear what comes, and what has come meanwhile, until cancelled.

        Raises:
            Unreachable, Rejected: Slack cannot be heard.
        """
        if self._hook is None:
            assert self._app_token is not None  # one of both was given
            bearer = bearer_of(self._app_token)
            await Socket(self._api, bearer, ear, self.line, on_gap=missed.everywhere).run()
            return
        ear.on_missed = missed.again
        missed.everywhere()
        self._hook.ear = ear
        try:
            self.line.up()
            await trio.sleep_forever()
        finally:
            self._hook.ear = ear.on_missed = None  # what is still being heard outlives this

    async def _whoami(self) -> tuple[Me, Mapping[str, str]]:
        """Who the bot is, and the headers that say what its token may do.

        Raises:
            Unreachable, Rejected: Slack does not say.
        """
        told, headers = await self._api.ask("auth.test")
        with readable("auth.test"):
            me = Me(
                user_id=named(told, "user_id"),
                bot_id=text(told, "bot_id"),
                team_id=text(told, "team_id"),
            )
        return me, headers

    # -- speaking --------------------------------------------------------------------------------

    async def send(self, outbound: Outbound) -> Receipt:
        """Send a text, or a file, or edit a draft into its text.

        Raises:
            Unreachable: nothing was sent: `rate_limited`, or Slack cannot be reached.
            Rejected: in one word: `not_member`, `archived`, `not_found`, `forbidden` …
            LostAnswer: nobody knows, and nobody can find out.
        """
        address, shown = outbound.address, outbound.draft
        _check_thread(address)
        if outbound.file is not None:
            return await self._files.send(outbound.file, address)
        if shown is None:
            return await self._say(address, outbound.text)
        try:
            await self._edit(address, shown, outbound.text)
        except Rejected as refused:
            if refused.reason not in ("message_gone", "too_long"):
                raise
            receipt = await self._say(address, outbound.text)
            if refused.reason == "too_long":  # less may be edited than sent: the draft is no use
                await self._withdraw_quietly(address, shown)
            return receipt
        return Receipt(platform_message_id=shown)

    async def draft(self, draft: Draft, /) -> Receipt:
        """Send the first state, and edit the later ones into it; fewer, the more there are."""
        if draft.shown is None:
            return await self._say(draft.address, draft.text)
        if self._may_draft(draft.shown):
            await self._edit(draft.address, draft.shown, draft.text)
        return Receipt(platform_message_id=draft.shown)

    async def withdraw(self, address: Address, message_id: str, /) -> None:
        """Delete a draft."""
        await self._api.write(
            "chat.delete",
            address.conversation,
            repeatable=True,
            channel=address.conversation,
            ts=message_id,
        )

    async def _withdraw_quietly(self, address: Address, message_id: str) -> None:
        try:
            await self.withdraw(address, message_id)
        except (Unreachable, Rejected) as error:
            self.line.warning = f"a draft stays beside its text: {error}"

    def _may_draft(self, shown: str) -> bool:
        """Whether it is the turn of this draft: all of them share what Slack allows."""
        now = trio.current_time()
        self._drafted = {one: at for one, at in self._drafted.items() if at > now - _DRAFTED_S}
        last = self._drafted.get(shown)
        if last is not None and now < last + _DRAFT_EVERY_S * len(self._drafted):
            return False
        self._drafted[shown] = now
        return True

    async def _tell(self, address: Address, words: str, _reply_to: str) -> object:
        return await self._say(address, words)

    async def _say(self, address: Address, said: str) -> Receipt:
        told = await self._api.write(
            "chat.postMessage",
            address.conversation,
            channel=address.conversation,
            text=to_mrkdwn(said),
            thread_ts=address.thread,
            unfurl_links=self._previews,
            unfurl_media=self._previews,
            **_INERT,
        )
        return _receipt(told)

    async def _edit(self, address: Address, message_id: str, said: str) -> None:
        await self._api.write(
            "chat.update",
            address.conversation,
            repeatable=True,
            channel=address.conversation,
            ts=message_id,
            text=to_mrkdwn(said),
            **_INERT,
        )

    # -- the operator ----------------------------------------------------------------------------

    async def probe(self) -> tuple[Check, ...]:
        """Ask who the bot is and what it may do, and for an address to connect to.

        The address is not used, and expires by itself.
        """
        try:
            me, headers = await self._whoami()
        except Rejected as refused:
            return (
                Check(
                    what="token",
                    ok=False,
                    detail=f"{refused}; take the bot token from the page of the app",
                ),
            )
        token = Check(what="token", ok=True, detail=f"bot {me.user_id}")
        checks = (token, *checks_of_scopes(headers))
        if self._app_token is None:
            return checks
        try:
            await self._api.ask("apps.connections.open", bearer=bearer_of(self._app_token))
        except Rejected as refused:
            advice = "make an app-level token with connections:write, and switch Socket Mode on"
            return (*checks, Check(what="app token", ok=False, detail=f"{refused}; {advice}"))
        return (*checks, Check(what="app token", ok=True, detail="may connect by Socket Mode"))


def _check_thread(address: Address) -> None:
    """Return if its thread can be one of Slack's, which would answer in the channel otherwise.

    Raises:
        Rejected: it cannot.
    """
    if address.thread is not None and not is_stamp(address.thread):
        raise Rejected("there is no such thread", reason="thread_not_found")


def _receipt(told: Fields) -> Receipt:
    with id_told():
        return Receipt(platform_message_id=stamp(told, "ts"))
