"""The desk: makes a letter of a trigger, from what Redis knows of the person and the shop at that moment."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from connectors.catalogue import AsyncCatalogue
from connectors.redis_people import RedisPeople
from operators.last_look import look
from rendering.problems import Hole, TemplateError
from rendering.renderer import Renderer
from rendering.template_data import decoded_profile, product_ids, template_data
from state.letters import Letter, Unfit
from state.outputs import Trigger


class RedisDesk(NamedTuple):
    """A desk over Redis. `links` gives the signed links of a trigger's email, or none where nothing serves them."""

    people: RedisPeople
    catalogue: AsyncCatalogue
    renderer: Renderer
    shop: Mapping[str, str]
    links: Callable[[Trigger], Mapping[str, str]]

    async def letter(self, trigger: Trigger, *, with_email: bool) -> Letter | None:
        """Make a letter after a last look; None where the person has no profile. Raises Stale, Unfit, or Away."""
        (profile,) = await self.people.profiles(trigger.tenant, [trigger.user_id])
        if profile is None:
            return None
        products = await self.catalogue.lookup(trigger.tenant, product_ids(trigger))
        fresh, to = look(trigger, profile, products)
        links = self.links(fresh)
        data = template_data(fresh, decoded_profile(profile), products, self.shop, links)
        try:
            email = self.renderer.render(trigger.template_id, data) if with_email else None
        except (Hole, TemplateError) as error:
            raise Unfit(f"template: {error}") from None
        return Letter(fresh, to, data, email, links.get("unsubscribe"))
