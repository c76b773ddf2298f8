"""The emulator's vocabulary: invented words, and real country names."""


def _list(text: str, between: str = ",") -> list[str]:
    return [word.strip() for word in text.replace("\n", " ").split(between)]


TOPICS = {
    "christmas": "wreath,advent candle,gingerbread house,stocking,tinsel garland,mulled cider",
    "tattoos": "forearm swallow,fern sleeve,moon phase,compass rose,lettering,ankle wave",
    "travel": "night train,harbour walk,hill village,packing list,ferry route,mountain hut",
    "quotes": "morning thought,kind word,patient heart,quiet wisdom,brave step,late bloom",
    "art": "ink sketch,gouache landscape,paper collage,clay mask,charcoal portrait,lino print",
    "mens-fashion": "linen blazer,corduroy jacket,loafers,field watch,tweed cap,chore coat",
    "diy-and-crafts": "felt garland,macrame shelf,jam jar lamp,patchwork quilt,clay bowl,loom",
    "education": "phonics game,times table,science corner,reading nook,word wall,map puzzle",
    "home-decor": "rattan lamp,gallery wall,bay window,reading chair,jute rug,tiled hallway",
    "finance": "envelope budget,rainy day fund,index fund,grocery plan,debt ladder,side job",
    "event-planning": "seating chart,garden party,table runner,dessert table,toast,guest book",
    "beauty": "braided bun,lip tint,clay cleanser,winged liner,almond nails,night serum",
    "vehicles": "camper van,flatbed truck,roadster,gravel bike,sidecar,tractor restoration",
}
QUALITIES = _list(
    """
    Cosy,Easy,Unusual,Timeless,Bold,Little,Handmade,Vintage,Modern,Simple,Clever,Rustic,
    No Bake,Frugal,Weekend,Norwegian,Soft,Bright,Slow,Error Proof
    """
)
ENDINGS = _list(
    """
    Ideas for Small Rooms,You Will Love,on a Budget,That Anyone Can Try,for Beginners,
    Step by Step,Worth Keeping,for a Rainy Sunday,Nobody Told You About,in an Afternoon,
    from Norway to Nepal,Without Errors,We Keep Coming Back To,for the Whole Family
    """
)
TAGS = _list(
    """
    Ideas,Inspiration,Design,Tutorial,For Beginners,Aesthetic,Projects,Pictures,Outfits,
    Tips And Tricks,Checklist,Do It Yourself,Photography,Patterns,Colors,On A Budget
    """
)
SENTENCES = (
    "Here is what we learned after a whole year of trying it at home.",
    "Save this one for later, you will want to come back to it.",
    "A small change that makes the whole place feel calmer.",
    "It takes twenty minutes, three tools and a little patience.",
    "We asked nine friends and none of them agreed on the second step!",
    "My grandmother's way of doing it, written down at last.",
    "Read on for the list of materials, the costs and what went wrong.",
    "Follow the board for more like this every Thursday.",
    "The results at the end surprised even the neighbours - and the cat.",
    "There is no error so large that a coat of paint will not hide it.",
    "Perfect for a slow morning, a long evening or a very short holiday.",
    "Made with leftovers only; the pattern is free to print.",
)
FOREIGN = (
    "小さな部屋の静かな朝",
    "手作りの灯りと木の棚",
    "山間小屋的冬日手记",
    "旧书桌与新窗帘的搭配",
    "조용한 오후의 작은 정원",
    "רעיונות קטנים לבית חם",
    "שולחן חגיגי בערב שקט",
    "أفكار بسيطة لغرفة هادئة",
    "رحلة قصيرة إلى الجبل",
    "Petite étagère façon forêt - l'été en idées",
    "Blühende Gärten für graue Tage",
    "Тихий вечер перед окном",
)
EMOJI = _list("🎄,✨,🌿🌿,❤️,👩‍🎨,👨‍👩‍👧‍👦,🏳️‍🌈,👍🏽,🇳🇴,🧶🪡")
POSTERS = _list(
    """
    Lantern,Thicket,Pebble,Juniper,Marmalade,Harbour,Copper,Saffron,Willow,Button,Otter,
    Meadow,Kettle,Bramble,Velvet,Attic,Cinder,Maple,Tulip,Driftwood
    """
)
TRADES = _list(
    """
    & Co,Journal,Studio,Workshop,Diaries,Collective,at Home,Kitchen,Supply,Letters,
    House,Notes,Club,Magazine,by Hand,Society
    """
)
SITES = _list("lanternandthread.example,thicketpost.example,slowkettle.example")
FIRST_NAMES = _list(
    """
    Ada,Bruno,Celia,Dario,Edith,Farid,Greta,Hugo,Imani,Jonas,Keiko,Lars,Mina,Nadia,Otis,
    Petra,Quentin,Rosa,Silas,Thea,Umar,Vera,Wim,Xenia,Yusuf,Zelda,Anaïs,Björn,Chloë,José
    """
)
LAST_NAMES = _list(
    """
    Abel,Birch,Castellan,Drummond,Eastlake,Fairweather,Garrow,Hollis,Ingram,Jarvis,Kestrel,
    Lindqvist,Moreau,Nakata,O'Dell,Pemberton,Quill,Rowan,Sanderling,Thorne,Underhill,Vance,
    Whitlock,Yarrow,Zimmer,Ní Bhriain,de la Roche,Smith-Okoro
    """
)
COUNTRIES = _list(
    """
Afghanistan; Albania; Algeria; American Samoa; Andorra; Angola; Anguilla;
Antarctica (the territory South of 60 deg S); Antigua and Barbuda; Argentina; Armenia; Aruba;
Australia; Austria; Azerbaijan; Bahamas; Bahrain; Bangladesh; Barbados; Belarus; Belgium; Belize;
Benin; Bermuda; Bhutan; Bolivia; Bosnia and Herzegovina; Botswana; Bouvet Island (Bouvetoya);
Brazil; British Indian Ocean Territory (Chagos Archipelago); British Virgin Islands;
Brunei Darussalam; Bulgaria; Burkina Faso; Burundi; Cambodia; Cameroon; Canada; Cape Verde;
Cayman Islands; Central African Republic; Chad; Chile; China; Christmas Island;
Cocos (Keeling) Islands; Colombia; Comoros; Congo; Cook Islands; Costa Rica; Cote d'Ivoire;
Croatia; Cuba; Cyprus; Czech Republic; Denmark; Djibouti; Dominica; Dominican Republic; Ecuador;
Egypt; El Salvador; Equatorial Guinea; Eritrea; Estonia; Ethiopia; Faroe Islands;
Falkland Islands (Malvinas); Fiji; Finland; France; French Guiana; French Polynesia;
French Southern Territories; Gabon; Gambia; Georgia; Germany; Ghana; Gibraltar; Greece; Greenland;
Grenada; Guadeloupe; Guam; Guatemala; Guernsey; Guinea; Guinea-Bissau; Guyana; Haiti;
Heard Island and McDonald Islands; Holy See (Vatican City State); Honduras; Hong Kong; Hungary;
Iceland; India; Indonesia; Iran; Iraq; Ireland; Isle of Man; Israel; Italy; Jamaica; Japan; Jersey;
Jordan; Kazakhstan; Kenya; Kiribati; Korea; Kuwait; Kyrgyz Republic;
Lao People's Democratic Republic; Latvia; Lebanon; Lesotho; Liberia; Libyan Arab Jamahiriya;
Liechtenstein; Lithuania; Luxembourg; Macao; Macedonia; Madagascar; Malawi; Malaysia; Maldives;
Mali; Malta; Marshall Islands; Martinique; Mauritania; Mauritius; Mayotte; Mexico; Micronesia;
Moldova; Monaco; Mongolia; Montenegro; Montserrat; Morocco; Mozambique; Myanmar; Namibia; Nauru;
Nepal; Netherlands Antilles; Netherlands; New Caledonia; New Zealand; Nicaragua; Niger; Nigeria;
Niue; Norfolk Island; Northern Mariana Islands; Norway; Oman; Pakistan; Palau;
Palestinian Territory; Panama; Papua New Guinea; Paraguay; Peru; Philippines; Pitcairn Islands;
Poland; Portugal; Puerto Rico; Qatar; Reunion; Romania; Russian Federation; Rwanda;
Saint Barthelemy; Saint Helena; Saint Kitts and Nevis; Saint Lucia; Saint Martin;
Saint Pierre and Miquelon; Saint Vincent and the Grenadines; Samoa; San Marino;
Sao Tome and Principe; Saudi Arabia; Senegal; Serbia; Seychelles; Sierra Leone; Singapore;
Slovakia (Slovak Republic); Slovenia; Solomon Islands; Somalia; South Africa;
South Georgia and the South Sandwich Islands; Spain; Sri Lanka; Sudan; Suriname;
Svalbard & Jan Mayen Islands; Swaziland; Sweden; Switzerland; Syrian Arab Republic; Taiwan;
Tajikistan; Tanzania; Thailand; Timor-Leste; Togo; Tokelau; Tonga; Trinidad and Tobago; Tunisia;
Turkey; Turkmenistan; Turks and Caicos Islands; Tuvalu; Uganda; Ukraine; United Arab Emirates;
United Kingdom; United States of America; United States Minor Outlying Islands;
United States Virgin Islands; Uruguay; Uzbekistan; Vanuatu; Venezuela; Vietnam; Wallis and Futuna;
Western Sahara; Yemen; Zambia; Zimbabwe
""",
    ";",
)
